// Package checks prints a line for each thing that is checked: "ok NAME", or "not ok NAME: REASON".
package checks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"
)

const patience = 60 * time.Second

var failed bool

// Run runs one check; what has no end after a minute has failed.
func Run(name string, check func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- check(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("no end after a minute")
	}
	if err != nil {
		failed = true
		fmt.Printf("not ok %s: %s\n", name, strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	fmt.Println("ok", name)
}

// Exit ends the program, with 1 if a check failed.
func Exit() {
	if failed {
		os.Exit(1)
	}
	os.Exit(0)
}

// Must is the value of what cannot fail before the checks begin.
func Must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Equal says what differs.
func Equal[T any](got, wanted T, what string) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("%s: got %v, wanted %v", what, got, wanted)
	}
	return nil
}
