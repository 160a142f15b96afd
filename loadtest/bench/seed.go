package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"vote/internal/domain"
)

// seedUsers makes accounts straight in the store; nobody can log in to them.
func seedUsers(ctx context.Context, store domain.Store, n int) ([]domain.UserID, error) {
	var batch domain.Import
	now := time.Now()
	for i := range n {
		name := "bench" + strconv.Itoa(i)
		batch.Users = append(batch.Users, domain.ImportUser{
			NewUser:   domain.NewUser{Username: name, UsernameKey: name, Email: name + "@bench.invalid", EmailKey: name + "@bench.invalid", PasswordHash: "none"},
			CreatedAt: now,
		})
	}
	made, err := store.Import(ctx, batch)
	return made.Users, err
}

// twoTags gives poll i two of a thousand tags.
func twoTags(i int) []string {
	return []string{"topic" + strconv.Itoa(i%997), "place" + strconv.Itoa(i/997%1000)}
}

// tenTags gives poll i ten different tags, of a million in all.
func tenTags(i int) []string {
	tags := make([]string, 10)
	for j := range tags {
		tags[j] = "tag" + strconv.Itoa((i*10+j)%1_000_000)
	}
	return tags
}

// seedPolls publishes n polls and returns their ids in order.
func seedPolls(ctx context.Context, store domain.Store, author domain.UserID, n int, tags func(int) []string) ([]domain.PollID, error) {
	const size = 5000
	ids := make([]domain.PollID, 0, n)
	for i := 0; i < n; i += size {
		batch := make([]domain.NewPoll, 0, size)
		for j := i; j < min(i+size, n); j++ {
			batch = append(batch, domain.NewPoll{
				Author: author, Title: fmt.Sprintf("Which of these would you choose, question number %d?", j),
				Options: []string{"The first one", "The second one", "Neither of them"}, Tags: tags(j),
			})
		}
		published, err := store.Publish(ctx, batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
			return domain.Rules{}.JudgePublications(batch, f)
		})
		if err != nil {
			return nil, err
		}
		for _, p := range published {
			if p.Verdict.Code != "" {
				return nil, domain.E(p.Verdict.Code, "seeding a poll was refused")
			}
			ids = append(ids, p.Poll.ID)
		}
	}
	return ids, nil
}

// seedSkips lets a user skip polls.
func seedSkips(ctx context.Context, store domain.Store, user domain.UserID, polls []domain.PollID) error {
	for len(polls) > 0 {
		n := min(len(polls), 500)
		batch := make([]domain.Interaction, n)
		for i := range batch {
			batch[i] = domain.Interaction{User: user, Poll: polls[i], Skip: true}
		}
		polls = polls[n:]
		if _, err := store.Interact(ctx, batch, func(f []domain.Fact) []domain.Verdict { return domain.Rules{}.Judge(batch, f) }); err != nil {
			return err
		}
	}
	return nil
}
