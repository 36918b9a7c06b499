/** Asks for the token that the server wants. It is kept until the tab is closed, and never put into an address. */

import { type FormEvent, useState } from "react";
import { type TokenHeader, hasToken, setToken } from "../api/client";
import { forgetAll } from "../api/query";
import { Icon } from "../parts/icons";
import { Top } from "../parts/top";

export function SignIn() {
  const [token, enter] = useState("");
  const [header, choose] = useState<TokenHeader>("authorization");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setToken(token.trim(), header);
    forgetAll();
  };
  return (
    <>
      <Top title="Sign in" />
      <main className="page">
        <form className="empty" onSubmit={submit}>
          <Icon name="lock" />
          <h2>This server asks who you are</h2>
          {hasToken() && (
            <p role="alert" style={{ color: "var(--bad)" }}>
              The server refused this token.
            </p>
          )}
          <p>The token is sent with each request and forgotten when this tab is closed. Studio shows what the token may see.</p>
          <div className="acts" style={{ flexWrap: "wrap", justifyContent: "center" }}>
            <label className="field" style={{ width: 280 }}>
              <span className="unseen">Token</span>
              <input type="password" value={token} onChange={(event) => enter(event.target.value)} placeholder="Token" autoComplete="off" autoFocus />
            </label>
            <select className="field" aria-label="How it is sent" value={header} onChange={(event) => choose(event.target.value as TokenHeader)}>
              <option value="authorization">as Authorization</option>
              <option value="x-api-key">as X-Api-Key</option>
            </select>
            <button type="submit" className="btn main">
              Continue
            </button>
          </div>
        </form>
      </main>
    </>
  );
}
