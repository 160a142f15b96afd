package api_test

import (
	"context"
	"fmt"

	"vote/internal/web"
)

// drawn is a share image that tells what it was made of.
func drawn(_ context.Context, p web.Poll) ([]byte, error) { return fmt.Appendf(nil, "%+v", p), nil }
