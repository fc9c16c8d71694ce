"""A local receiver: shows what an SRE would get on Slack and PagerDuty, and the loop's own story.

It speaks the two real protocols on the loopback interface, so that notifiers need no demo mode:
only their base URLs differ. ``Receiver`` starts one, ``ReceiverClient`` feeds its page.
"""

from __future__ import annotations

from tocsin.receiver.charts import Point
from tocsin.receiver.client import ReceiverClient
from tocsin.receiver.faults import Fault
from tocsin.receiver.process import Receiver
from tocsin.receiver.timeline import Step, StepName

__all__ = ["Fault", "Point", "Receiver", "ReceiverClient", "Step", "StepName"]
