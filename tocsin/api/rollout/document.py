"""The frame of the pages, and those that say or ask one thing."""

from __future__ import annotations

from typing import Final

from tocsin.api.markup import Child, el, render

__all__ = ["BASE", "document", "login_page", "message_page"]

BASE: Final = "/rollout"


def document(title: str, main: Child, *, live: bool = False, logout: bool = False) -> str:
    """Return a page.

    Args:
        title: of the window.
        main: what it shows.
        live: whether it is worth asking again.
        logout: whether there is a session to end.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} \u00b7 Tocsin"),
        el("link", rel="icon", href=f"{BASE}/bell.svg", type="image/svg+xml"),
        el("link", rel="stylesheet", href=f"{BASE}/style.css"),
        el("link", rel="stylesheet", href=f"{BASE}/rollout.css"),
        el("script", type="module", src=f"{BASE}/rollout.js"),
        el("noscript", el("meta", http_equiv="refresh", content="30")) if live else None,
    )
    leave = el("form", el("button", "Log out"), method="post", action=f"{BASE}/logout")
    bar = el(
        "header",
        el(
            "h1",
            el("img", src=f"{BASE}/bell.svg", alt="", width=26, height=26),
            el("a", "Tocsin", href=BASE),
            el("small", "model migrations"),
        ),
        el("p", "live" if live else "", id="status", role="status", data_state="live"),
        el("button", "Theme: system", id="theme", type="button", hidden=True),
        leave if logout else None,
        class_="bar",
    )
    body = el(
        "body",
        el("a", "Skip to the rollout", class_="skip", href="#main"),
        bar,
        el("main", main, id="main", tabindex="-1", data_live=live),
        el("p", id="announcer", class_="unseen", aria_live="polite"),
    )
    return "<!doctype html>\n" + render(el("html", head, body, lang="en"))


def login_page(error: str = "", path: str = BASE) -> str:
    """Return the form that asks for the API's token."""
    form = el(
        "form",
        # For password managers, which keep a secret under a name.
        el("input", name="user", value="tocsin", autocomplete="username", hidden=True),
        el("label", "Token of the API", for_="token"),
        el(
            "input",
            id="token",
            name="token",
            type="password",
            required=True,
            autofocus=True,
            autocomplete="current-password",
        ),
        el("input", type="hidden", name="next", value=path),
        el("button", "Show the rollout", class_="button primary"),
        el("p", error, class_="wrong", role="alert") if error else None,
        method="post",
        action=f"{BASE}/login",
        class_="form",
    )
    note = "It is what TOCSIN_API__TOKEN holds; this browser keeps a session of 12 hours, not it."
    card = el(
        "section",
        el("h2", "Who is there?"),
        form,
        el("p", note, class_="quiet"),
        class_="card narrow",
    )
    return document("Log in", [card])


def message_page(title: str, text: str) -> str:
    """Return a page that says one thing."""
    return document(title, [el("section", el("h2", title), el("p", text), class_="card narrow")])
