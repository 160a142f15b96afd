package api

import (
	"net/http"

	"vote/internal/account"
)

func (s *server) register(c *call) error {
	in := readRegistration(&c.input)
	if err := c.admitRegistration(); err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		return err
	}
	t, err := s.account.Register(c.context(), in.Username, in.Email, in.Password)
	if err != nil {
		return err
	}
	return c.sendSession(http.StatusCreated, t)
}

func (s *server) login(c *call) error {
	in := readCredentials(&c.input)
	if err := c.admitLogin(in.Email); err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		return err
	}
	t, err := s.account.Login(c.context(), in.Email, in.Password)
	if err != nil {
		return err
	}
	return c.sendSession(http.StatusOK, t)
}

func (s *server) refresh(c *call) error {
	in := readRefresh(&c.input)
	if err := c.invalid(); err != nil {
		return err
	}
	t, err := s.account.Refresh(c.context(), in.RefreshToken)
	if err != nil {
		return err
	}
	return c.sendSession(http.StatusOK, t)
}

func (s *server) logout(c *call) error {
	var in logoutRequest
	if len(c.body) > 0 {
		in = readLogout(&c.input)
	}
	if err := c.invalid(); err != nil {
		return err
	}
	if err := s.account.Logout(c.context(), c.who, in.RefreshToken); err != nil {
		return err
	}
	c.send(http.StatusNoContent, nil, nil)
	return nil
}

func (c *call) sendSession(status int, t account.Tokens) error {
	return c.sendJSON(status, sessionShape{
		User: userShape{
			ID: t.User.ID, Username: t.User.Username, Email: t.User.Email, CreatedAt: t.User.CreatedAt.UTC(),
		},
		Token: t.Token, RefreshToken: t.RefreshToken, ExpiresAt: t.ExpiresAt.UTC(),
	})
}
