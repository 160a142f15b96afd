//go:build linux

package local

import (
	"context"
	"strconv"
)

// LimitMemory tells the server how much of the machine's memory it may use. With
// 0 it takes nothing from publishers, until it is told more.
func (r *RabbitMQ) LimitMemory(ctx context.Context, fraction float64) error {
	path, err := rabbitmqctl.find()
	if err != nil {
		return err
	}
	return command{
		name: "rabbitmqctl", path: path, env: r.command.env, folder: r.folder.path, account: r.command.account,
		args: []string{"-n", "vote@localhost", "set_vm_memory_high_watermark", strconv.FormatFloat(fraction, 'f', -1, 64)},
	}.run(ctx)
}
