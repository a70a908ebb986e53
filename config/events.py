"""The public schema: event types, actions, and how bytes become valid events.

TYPES, ACTIONS and the other tuples are indexed by small integers in internal records: append to them, never reorder.
"""

from __future__ import annotations

TYPES = (
    "impression", "click", "view", "like", "unlike", "collect", "uncollect", "comment", "uncomment", "share", "unshare",
    "hide", "unhide", "report", "follow", "unfollow", "block", "unblock", "profile_view", "signup", "locate", "search",
    "settings", "product_click", "add_to_cart", "order", "purchase",
)  # fmt: skip
"""Public event types."""

RESERVED_TYPES = ("served", "forget", "erase")
"""Written by the API into by-user; refused from outside."""

ACTIONS = (
    "impression", "click", "view", "finish", "like", "collect", "comment", "share", "follow", "hide", "report",
    "product_click", "add_to_cart", "purchase",
)  # fmt: skip
"""What is counted of a note: distinct users per action. At most 16: the ledger keeps one bit for each."""

PREDICTED = ("click", "finish", "like", "collect", "comment", "share", "follow", "hide")
"""The actions a scorer predicts, in the order of `Slate.predictions` and `NoteAct.e`: rates per exposure."""

ENGAGEMENTS = ("click", "view", "like", "collect", "comment", "share")
"""Actions that say a user took a note: what evaluation predicts and neighbours link."""

TRAFFIC = ("user", "test", "bot")

SURFACES = ("feed", "following", "nearby", "hot", "search", "similar", "profile", "note", "push", "external")
