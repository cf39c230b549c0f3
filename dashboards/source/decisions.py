"""The page *Decisions*: what is decided, how fast, for whom it fails, and whether anything is asked at all."""

from house import QUIET, YES_NO, Target, age, bars, choice, colours, grown, latency, lines, number, page as a_page, rate, \
    says, value

DECISIONS = "countersign_decisions_total"
FAULTS = "countersign_faults_total"
ROUTE = 'route=~"$route"'
OUTCOME = f'{ROUTE}, advisory="false"'
DENIED = f'{OUTCOME}, decision="deny"'

NOW = [
    number("Audit available", "Can every instance make records durable? If not, it denies everything: look at the disk "
           "under the spool (full, read-only, gone) and at the log of that instance. The page *Audit* has the rest.",
           [Target(value("countersign_audit_available", "min"))], maximum=1, limits=colours((None, "red"), (1, "green")),
           words=[YES_NO]),
    number("Decisions per second", "Decisions, not S3 requests: MinIO asks two or three times for one GET, and one denied "
           "GET is two.", [Target(rate(DECISIONS, ROUTE))], unit="ops"),
    number("Denial rate", "Share of decisions that denied, without the advisory ones, where a deny is not an outcome. If "
           "it jumps, see whether faults jump with it: then something is broken. If not, a policy has changed.",
           [Target(f"{rate(DECISIONS, DENIED)} / {rate(DECISIONS, OUTCOME)}")], unit="percentunit", maximum=1,
           words=[QUIET], limits=colours((None, "green"), (0.1, "orange"), (0.5, "red"))),
    number("Faults per second", "Refused because something failed, not because a policy said so. *Faults by reason* says "
           "whose fault it is; side `caller` may be a scanner.", [Target(rate(FAULTS, ROUTE))], unit="ops",
           limits=colours((None, "green"), (0.01, "orange"), (1, "red"))),
    number("Last decision", "How long ago. On a busy store, minutes mean that MinIO cannot reach us or no longer asks: "
           "check MinIO's policy plugin settings.",
           [Target("time() - max(countersign_last_decision_timestamp_seconds{instance=~\"$instance\"} > 0)")], unit="s",
           limits=colours((None, "green"), (300, "orange"))),
    number("Instances", "How many run, by version. Fewer than you deployed: one is down, or Prometheus cannot reach it.",
           [Target(value("countersign_build_info", "count", "version"), "{{version}}")]),
]

DECIDED = [
    lines("Decisions", "By what was decided. Decisions, not S3 requests: one denied GET is two.",
          [Target(rate(DECISIONS, ROUTE, "decision"), "{{decision}}")], unit="ops", stack=True),
    lines("Denial rate by action class", "Without advisory decisions. One class alone points to a policy; all of them to a "
          "fault.", [Target(f"{rate(DECISIONS, DENIED, 'action_class')} / {rate(DECISIONS, OUTCOME, 'action_class')}",
                            "{{action_class}}")], unit="percentunit", maximum=1),
    lines("Advisory denies", "Denies that are not an outcome: MinIO only asked whether to show metadata or a list entry. A "
          "client can forge some of the signs, so a rise without more traffic deserves a look at the records.",
          [Target(rate(DECISIONS, f'{ROUTE}, decision="deny", advisory="true"', "action_class") + " > 0",
                  "{{action_class}}")], unit="ops"),
    lines("Faults by reason", "Side `authorizer`: look at the authorizer and the way to it. `self`: at this machine and "
          "configuration. `caller`: somebody sends what MinIO would not. docs/EVENTS.md says what to do about each reason.",
          [Target(rate(FAULTS, ROUTE, "side, reason") + " > 0", "{{side}}: {{reason}}")], unit="ops", width=12, stack=True),
    bars("Why denied", "Denies by reason in the time shown. `policy` is what an authorizer decided; everything else failed.",
         [Target(grown(DECISIONS, f'{ROUTE}, decision="deny", origin!="fault"') + " > 0", "policy", instant=True),
          Target(f"sort_desc({grown(FAULTS, ROUTE, 'side, reason')} > 0)", "{{side}}: {{reason}}", instant=True)], width=6),
    bars("Busiest routes", "Decisions by route in the time shown. Route `none` is what no route matched, and is denied: "
         "add a last route that matches everything.",
         [Target(f"topk(10, {grown(DECISIONS, ROUTE, 'route')} > 0)", "{{route}}", instant=True)], width=6),
]

SPEED = [
    lines("Latency by origin", "From the last byte of the question to the answer; the points lead to traces. `cache` slow: "
          "the disk under the spool. `authorizer` slow: the page *Authorizers*. Above 250 ms every decision is traced.",
          latency("countersign_decision_duration_seconds", "origin", exemplars=True), unit="s", width=12,
          limits=colours((None, "green"), (0.25, "orange"))),
    lines("In flight", "Decisions under way. Near `listen.max_in_flight` questions wait and then are `overload`: find out "
          "what is slow before you raise it.",
          [Target(value("countersign_decisions_in_flight", by="instance"), "{{instance}}")], width=6),
    lines("Front requests", "Everything that arrived, by client and outcome. `unauthorized`: a token was rotated on one "
          "side only, or somebody is trying. `silent`, `idle`, `flooded`, `unread`, `lingered`: connections that were ended, of the client "
          "`unknown`. Start-up probes are one for each start of a MinIO node.",
          [Target(rate("countersign_front_requests_total", by="client, outcome") + " > 0", "{{client}}: {{outcome}}"),
           Target(rate("countersign_probes_total", by="client") + " > 0", "{{client}}: start-up probes")],
          unit="ops", width=6),
]

CACHE = [
    lines("Cache hit ratio", "Share of cacheable decisions that needed no question. A drop right after a start is normal; "
          "a lasting one means that something changing is in the key: see `cache.ignore`.",
          [Target(rate("countersign_cache_requests_total", 'result=~"hit|coalesced"') + " / "
                  + rate("countersign_cache_requests_total", 'result!="off"'), "hit or coalesced")],
          unit="percentunit", maximum=1, width=6),
    lines("Cache results", "`off`: the route or the action is not cached.",
          [Target(rate("countersign_cache_requests_total", by="result"), "{{result}}")], unit="ops", stack=True, width=6),
    lines("Cache entries", "Remembered decisions. At `cache.entries` the ones not used for longest give way: raise it if the "
          "hit ratio suffers.", [Target(value("countersign_cache_entries", by="instance"), "{{instance}}")], width=6),
    number("Cache in use", "By route, on every instance. `no` is right where both lifetimes of the route are 0; else it was "
           "switched off, and the log says why.",
           [Target(value("countersign_cache_enabled", "min", "route", ROUTE), "{{route}}")], width=6, height=8, maximum=1,
           words=[says({"0": ("no", "blue"), "1": ("yes", "green")})]),
]

PROCESS = [
    lines("Memory", "Resident. Flat is right, whatever the backlog.",
          [Target(value("process_resident_memory_bytes", by="instance"), "{{instance}}")], unit="bytes", width=6),
    lines("CPU", "Cores in use.", [Target(rate("process_cpu_seconds_total", by="instance"), "{{instance}}")], width=6),
    lines("File descriptors", "Share of the limit that is open. At the limit no connection is accepted: raise `LimitNOFILE`.",
          [Target(f"{value('process_open_fds', by='instance')} / {value('process_max_fds', by='instance')}", "{{instance}}")],
          unit="percentunit", maximum=1, width=6, limits=colours((None, "green"), (0.8, "orange"))),
    lines("Configuration", "1 while the file as it was last read is in force, and how many instances run which generation. "
          "Two generations at once: not every instance has the new file.",
          [Target(value("countersign_config_last_reload_successful", "min", "instance"), "{{instance}}: in force"),
           Target(value("countersign_config_info", "count", "generation"), "generation {{generation}}")], width=6),
    number("Up since", "A start that nobody made is a crash: the log before it says why.",
           [Target(age("process_start_time_seconds", "instance"), "{{instance}}")], unit="s", width=12),
    lines("Telemetry lost", "Spans and log lines that were dropped so that decisions need not wait. Spans: the collector is "
          "away or too slow. Lines: whoever reads standard error is.",
          [Target(rate("countersign_otlp_spans_dropped_total", by="instance"), "{{instance}}: spans"),
           Target(rate("countersign_log_lines_dropped_total", by="instance"), "{{instance}}: log lines")],
          unit="ops", width=12, height=4),
]


def page():
    routes = choice("route", "Route", "Which routes; `none` is what no route took", DECISIONS)
    return a_page(
        "countersign-decisions", "Countersign: decisions",
        "What is decided, how fast, and for whom it fails. Start at the top row: red there comes first.",
        [("Now", NOW), ("What is decided", DECIDED), ("How fast, and by whom it is asked", SPEED), ("Cache", CACHE),
         ("Process", PROCESS)], [routes])
