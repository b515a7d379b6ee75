"""Bodies of requests as somebody might send them, for the description of the API and its page."""

from typing import Any, Final

from runtara import messages

__all__ = ["EXAMPLES"]

EXAMPLES: Final[dict[type, dict[str, Any]]] = {
    messages.StartInstance: {"instance_id": "order-17", "program": "order.py", "input": "eyJvcmRlciI6IDE3fQ=="},
    messages.ForkInstance: {"instance_id": "order-17b", "checkpoint_id": "charge-card"},
    messages.StartMany: {
        "starts": [{"instance_id": "order-18", "start": {"type": "StartInstance", "program": "order.py"}}]
    },
    messages.SendSignal: {"kind": "custom", "name": "approved", "payload": "eyJieSI6ICJBbm4ifQ=="},
    messages.SignalMany: {"kind": "cancel", "filter": {"prefix": "order-"}, "limit": 100},
    messages.RegisterInstance: {"attempt_id": "7f2c"},
    messages.SaveCheckpoint: {"checkpoint_id": "charge-card", "state": "eyJwYWlkIjogdHJ1ZX0=", "request": 1},
    messages.Sleep: {"checkpoint_id": "until-tomorrow", "duration_ms": 86_400_000, "park": True},
    messages.CompleteInstance: {"output": "eyJvayI6IHRydWV9"},
    messages.RestInstance: {
        "results": [{"checkpoint_id": "charge-card", "state": "eyJwYWlkIjogdHJ1ZX0="}],
        "subtype": "until-tomorrow",
        "checkpoint_id": "until-tomorrow",
        "duration_ms": 86_400_000,
    },
    messages.FinishInstance: {
        "results": [{"checkpoint_id": "send-mail", "state": "eyJvayI6IHRydWV9"}],
        "output": "eyJvayI6IHRydWV9",
    },
    messages.FailInstance: {"error": "the card was declined"},
    messages.RecordEvent: {"subtype": "progress", "payload": "eyJkb25lIjogM30="},
    messages.TakeSignal: {"name": "approved", "place": "approval-1", "timeout_ms": 3_600_000},
    messages.AcknowledgeSignal: {"signal_id": "c0ffee"},
    messages.RecordRetry: {"checkpoint_id": "charge-card", "attempt": 1, "error": "timed out", "retry_after_ms": 500},
    messages.PutSchedule: {
        "plan": {"cron": "30 6 * * MON-FRI", "start": {"type": "StartInstance", "program": "report.py"}}
    },
    messages.PauseSchedule: {"paused": True},
}
"""By command."""
