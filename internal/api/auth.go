package api

import (
	"net/http"

	"vote/internal/account"
	"vote/internal/domain"
)

func (s *server) register(c *call) error {
	in := readRegistration(&c.input)
	if err := c.admitRegistration(); err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		return err
	}
	done, err := c.enterHashing()
	if err != nil {
		return err
	}
	defer done()
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
	done, err := c.enterHashing()
	if err != nil {
		return err
	}
	defer done()
	t, err := s.account.Login(c.context(), in.Email, in.Password)
	if err != nil {
		return err
	}
	return c.sendSession(http.StatusOK, t)
}

// checkRefresh asks for a body of everybody but the web page.
func checkRefresh(c *call) error {
	if len(c.body) == 0 && !c.isWeb() {
		return errNoBody
	}
	return nil
}

func (s *server) refresh(c *call) error {
	var token string
	var err error
	if len(c.body) > 0 {
		token = readRefresh(&c.input).RefreshToken
		err = c.invalid()
	} else {
		token, err = c.cookieToken()
	}
	if err != nil {
		return err
	}
	t, err := s.account.Refresh(c.context(), token)
	if err != nil {
		switch domain.CodeOf(err) {
		case domain.CodeInvalidRefreshToken, domain.CodeRefreshReused, domain.CodeBanned:
			if c.isWeb() {
				c.clearCookie() // it is of no more use
			}
		}
		return err
	}
	return c.sendSession(http.StatusOK, t)
}

func (s *server) logout(c *call) error {
	var in logoutRequest
	fromCookie := false
	if len(c.body) > 0 {
		in = readLogout(&c.input)
	} else if c.isWeb() {
		var err error
		if in.RefreshToken, err = c.cookieToken(); err != nil {
			return err
		}
		fromCookie = in.RefreshToken != ""
	}
	if err := c.invalid(); err != nil {
		return err
	}
	err := s.account.Logout(c.context(), c.who, in.RefreshToken)
	if fromCookie && domain.CodeOf(err) == domain.CodeInvalidRefreshToken {
		// The cookie is outdated, or of somebody who signed in since: the
		// session of the access token is what can be ended.
		err = s.account.Logout(c.context(), c.who, "")
	}
	if err != nil {
		return err
	}
	if c.isWeb() {
		c.clearCookie()
	}
	c.send(http.StatusNoContent, nil, nil)
	return nil
}

// sendSession answers with a new pair of tokens. The web page gets the refresh
// token in the cookie only.
func (c *call) sendSession(status int, t account.Tokens) error {
	refresh := t.RefreshToken
	if c.isWeb() {
		c.setCookie(t)
		refresh = ""
	}
	return c.sendJSON(status, sessionShape{
		User: userShape{
			ID: t.User.ID, Username: t.User.Username, Email: t.User.Email, CreatedAt: t.User.CreatedAt.UTC(),
		},
		Token: t.Token, RefreshToken: refresh, ExpiresAt: t.ExpiresAt.UTC(),
	})
}
