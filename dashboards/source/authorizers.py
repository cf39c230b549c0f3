"""The page *Authorizers*: whether they answer, how fast, and what came of each attempt."""

from house import ME, QUIET, Target, choice, colours, latency, lines, number, page as a_page, quantile, rate, value

REQUESTS = "countersign_authorizer_requests_total"
DURATION = "countersign_authorizer_duration_seconds"
# What is counted under `unknown` no configuration names: there is nobody to look at.
WHO = 'authorizer=~"$authorizer", authorizer!="unknown"'
DENIED = f'{WHO}, outcome="denied"'
ANSWERED = f'{WHO}, outcome=~"allowed|denied"'
FAILED = f'{WHO}, outcome!~"allowed|denied"'
BY = "authorizer"
# Both gave a verdict: only these can agree or differ.
BOTH = 'difference=~"none|would_allow|would_deny"'
DIFFERS = 'difference=~"would_allow|would_deny"'
NO_VERDICT = 'difference=~"fault|dropped"'
ROUTE_AND = "route, authorizer"
SHADOW = "countersign_shadow_comparisons_total"
LEFT = f"min by (use, name) (countersign_tls_certificate_expiry_timestamp_seconds{{{ME}}}) - time()"

NOW = [
    number("Attempts that failed", "Share of attempts that brought no verdict. Each is a deny, unless a retry or a fallback "
           "saved it. Ask the authorizer what Countersign asks it, from the same machine; *Outcomes* has the reason.",
           [Target(f"{rate(REQUESTS, FAILED, BY)} / {rate(REQUESTS, WHO, BY)}", "{{authorizer}}")], unit="percentunit",
           width=8, maximum=1, words=[QUIET], limits=colours((None, "green"), (0.01, "orange"), (0.5, "red"))),
    number("Slowest one in a hundred", "p99 of one attempt. Near the authorizer's `timeout` (500 ms by default) denies with "
           "`timeout` follow: find out what is slow there before you raise it.",
           [Target(quantile(0.99, DURATION, BY, WHO), "{{authorizer}}")], unit="s", width=8, words=[QUIET],
           limits=colours((None, "green"), (0.1, "orange"), (0.4, "red"))),
    number("Attempts per second", "What the cache leaves for the authorizer.",
           [Target(rate(REQUESTS, WHO, BY), "{{authorizer}}")], unit="ops", width=8),
]

ANSWERS = [
    lines("Latency", "One attempt, of shadows too; the points lead to traces. The authorizer's own numbers, if it has them, say how much of "
          "this is the way there.", latency(DURATION, BY, labels=WHO, exemplars=True), unit="s",
          width=12, limits=colours((None, "green"), (0.4, "red"))),
    lines("Outcomes", "What came of each attempt. Anything but `allowed` and `denied` is the authorizer's fault or the "
          "network's; docs/EVENTS.md says what to do about each word.",
          [Target(rate(REQUESTS, WHO, "authorizer, outcome") + " > 0", "{{authorizer}}: {{outcome}}")], unit="ops",
          width=12, stack=True),
    lines("Share of verdicts that deny", "Of the attempts that were answered. A step without a fault is a change of policy: "
          "ask who made it.",
          [Target(f"{rate(REQUESTS, DENIED, BY)} / {rate(REQUESTS, ANSWERED, BY)}", "{{authorizer}}")], unit="percentunit", maximum=1),
    lines("Denied for the authorizer's fault", "Decisions, by route and reason: who feels it.",
          [Target(rate("countersign_faults_total", 'side="authorizer"', "route, reason") + " > 0",
                  "{{route}}: {{reason}}")], unit="ops"),
    lines("In flight", "Attempts under way. At the authorizer's `max_in_flight` the next ones wait and then are "
          "`authorizer_busy`: it is too slow for the load.",
          [Target(value("countersign_authorizer_in_flight", by=BY, labels=WHO), "{{authorizer}}")]),
]

PROTECTION = [
    lines("Breakers", "1 while an authorizer is not asked because it failed too often in a row: its questions are denied as "
          "`breaker_open` at once, or go to the next one. It is tried again after `breaker.open_for`. Mend the authorizer.",
          [Target(value("countersign_authorizer_breaker_open", "max", BY, WHO), "{{authorizer}}")], maximum=1, width=12,
          limits=colours((None, "green"), (1, "red"))),
    lines("Fallbacks", "Verdicts that came from another authorizer because the first one of the route failed: nobody was refused, "
          "and nobody may notice. Mend the first one.",
          [Target(rate("countersign_fallbacks_total", by="route"), "{{route}}")], unit="ops", width=12),
]

TRIED_OUT = [
    lines("Verdicts that differ", "Share of what both gave a verdict to, by route and shadow. A shadow decides nothing; look at its "
          "records (`io.countersign.shadow.v1`) before you let it. It must be 0 for as long as you want to be sure for.",
          [Target(f"{rate(SHADOW, f'{WHO}, {DIFFERS}', ROUTE_AND)} / {rate(SHADOW, f'{WHO}, {BOTH}', ROUTE_AND)}",
                  "{{route}}, {{authorizer}}")], unit="percentunit", maximum=1, width=8,
          limits=colours((None, "green"), (0.001, "orange"))),
    lines("What shadows would do", "`would_allow`: it was denied. `would_deny`: it was allowed. `fault`: the shadow had no verdict, and "
          "if it decided that were a deny. `undecided`: those that decide had none.",
          [Target(rate(SHADOW, f'{WHO}, difference!~"none|dropped"', "route, authorizer, difference"),
                  "{{route}}, {{authorizer}}: {{difference}}")], unit="ops", width=8, stack=True),
    lines("Not compared", "Share of questions that a shadow gave no verdict to (`fault`) or was not asked, because its `max_in_flight` "
          "was taken (`dropped`). Near 1 it is away or too slow; nobody is refused for it.",
          [Target(f"{rate(SHADOW, f'{WHO}, {NO_VERDICT}', ROUTE_AND)} / {rate(SHADOW, WHO, ROUTE_AND)}",
                  "{{route}}, {{authorizer}}")], unit="percentunit", maximum=1, width=8),
]

CERTIFICATES = [
    lines("Certificates: time left", "Of the certificates and authorities that are configured. After it every question ends "
          "in `tls`, or MinIO can no longer ask: renew the file. Nothing here: none is configured.",
          [Target(LEFT, "{{use}}: {{name}}")], unit="s", width=24, height=6,
          limits=colours((None, "red"), (2 * 86400, "orange"), (14 * 86400, "green"))),
]


def page():
    return a_page(
        "countersign-authorizers", "Countersign: authorizers",
        "Whether the authorizers answer, how fast, and what came of each attempt. A red number means that callers are "
        "refused because somebody else failed.",
        [("Now", NOW), ("Answers", ANSWERS), ("When one fails", PROTECTION), ("Tried out", TRIED_OUT),
         ("TLS", CERTIFICATES)],
        [choice("authorizer", "Authorizer", "Which authorizers", REQUESTS, 'authorizer!="unknown"')])
