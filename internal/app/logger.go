package app

import (
	"io"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"vote/config"
)

// NewLogger returns a structured logger that writes to w as configured.
func NewLogger(c config.LoggingConfig, w io.Writer) *slog.Logger {
	level := map[string]zapcore.Level{
		"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "warn": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
	}[c.Level]
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if c.Format == config.FormatConsole {
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	return slog.New(zapslog.NewHandler(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)))
}
