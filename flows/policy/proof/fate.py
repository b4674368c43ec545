"""What became of a message that is in no mailbox yet: read on the host that sent it, in its mail log."""

import re
import shlex
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from flows.policy.verdict import Truth, Verdict

MAIL_LOG: Final = "/var/log/mail.log.1 /var/log/mail.log"
# One line a try: `QUEUE-ID: to=<…>, …, dsn=4.7.1, status=deferred (what the receiver said)`, as Postfix writes it.
TRY: Final = re.compile(r"\bto=<[^>]*>.*\bdsn=(\d\.\d+\.\d+), status=(\w+) \((.*)\)\s*$")
SAID: Final = re.compile(r"\bsaid: (.*?)(?: \(in reply to [^)]*\))?$")
LONGEST_WORDS: Final = 300
# The receiver took it and shows it nowhere: no queue is that slow.
LOST_AFTER: Final = timedelta(hours=1)
PAUSES: Final = (
    (timedelta(minutes=10), timedelta(minutes=1)),
    (timedelta(hours=1), timedelta(minutes=5)),
    (timedelta.max, timedelta(minutes=15)),
)

Status = Literal["unseen", "queued", "deferred", "bounced", "sent"]


@dataclass(frozen=True, slots=True)
class Fate:
    """The last try of one message: `code` is the enhanced status, `words` what the receiver said, code included."""

    status: Status
    code: str = ""
    words: str = ""


def fate_script(message_id: str) -> str:
    """Print the tries of a message; one that is deferred is tried again at once, so a look is also a retry."""
    return f"""id=$(cat {MAIL_LOG} 2>/dev/null | grep -F {shlex.quote(f"message-id={message_id}")} \\
  | sed -n 's/.*: \\([0-9A-Za-z]*\\): message-id=.*/\\1/p' | tail -n 1)
[ -n "$id" ] || exit 0
echo "queue $id"
tries=$(cat {MAIL_LOG} 2>/dev/null | grep -F " $id: to=<" | tail -n 3)
printf '%s\\n' "$tries"
case $tries in
  *status=sent*|*status=bounced*) ;;
  *status=deferred*) postqueue -i "$id" ;;
esac
"""


def read_fate(printed: str) -> Fate:
    """What `fate_script` printed."""
    lines = printed.splitlines()
    tries = [match for line in lines if (match := TRY.search(line))]
    if not tries:
        return Fate("queued" if any(line.startswith("queue ") for line in lines) else "unseen")
    code, status, words = tries[-1].groups()
    known: dict[str, Status] = {"sent": "sent", "deferred": "deferred", "bounced": "bounced", "expired": "bounced"}
    said = SAID.search(words)
    return Fate(known.get(status, "queued"), code, (said[1] if said else words)[:LONGEST_WORDS])


def judge_absence(fate: Fate, receiver: str, since_sent: timedelta) -> Verdict:
    """The message is in no folder: refused and lost are FAIL, all else is not known yet."""
    expected = f"the message in a mailbox of {receiver}"
    found = (fate.words,) if fate.words else ()
    if fate.status == "bounced":
        fix = f"{receiver} refuses it: {fate.words}"
        return Verdict("delivery", Truth.FAIL, "refused", expected, found, fix)
    if fate.status == "sent" and since_sent > LOST_AFTER:
        fix = f"{receiver} took it ({fate.words}) and shows it in no folder"
        return Verdict("delivery", Truth.FAIL, "lost", expected, found, fix)
    return Verdict("delivery", Truth.UNKNOWN, fate.status, expected, found)


def judge_placement(folder: str) -> Verdict:
    """A message in the spam folder arrived and was not believed."""
    if folder == "INBOX":
        return Verdict("placement", Truth.PASS, expected="INBOX", found=(folder,))
    fix = f"the receiver filed it into {folder}: look at its reputation data for this address and domain before sending"
    return Verdict("placement", Truth.FAIL, "spam_folder", "INBOX", (folder,), fix)


def next_look(since_sent: timedelta) -> timedelta:
    """The pause before the next look: short at first, for greylisting ends within minutes."""
    return next(pause for until, pause in PAUSES if since_sent < until)
