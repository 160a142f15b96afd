package api

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// Routes returns what a handler of [New] routes, as "METHOD /path/{name}".
func Routes(h http.Handler) []string {
	var list []string
	for _, r := range h.(*gin.Engine).Routes() {
		parts := strings.Split(r.Path, "/")
		for i, p := range parts {
			if strings.HasPrefix(p, ":") || strings.HasPrefix(p, "*") {
				parts[i] = "{" + p[1:] + "}"
			}
		}
		list = append(list, r.Method+" "+strings.Join(parts, "/"))
	}
	return list
}
