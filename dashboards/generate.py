#!/usr/bin/env python3
"""Writes the Grafana dashboards beside this file: `python3 dashboards/generate.py`.

Dashboards are JSON that nobody can review; this is what they are made from. Standard library only. The tidy test
holds that every metric named here exists.
"""

import json
import pathlib

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
ME = 'instance=~"$instance"'
WIDTH = 24


def target(expr, legend="", exemplar=False):
    return {"datasource": DATASOURCE, "expr": expr, "legendFormat": legend or "__auto", "exemplar": exemplar,
            "editorMode": "code", "range": True}


def steps(*pairs):
    """Thresholds: the colour from each value on. The first value is None."""
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for value, colour in pairs]}


def panel(title, description, targets, *, kind="timeseries", unit="short", width=8, height=8, thresholds=None,
          minimum=0, maximum=None, stack=False, mappings=None):
    defaults = {"unit": unit, "min": minimum, "mappings": mappings or [],
                "thresholds": thresholds or steps((None, "green"))}
    if maximum is not None:
        defaults["max"] = maximum
    options = {}
    if kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1, "fillOpacity": 10, # A fault that happened once is a single point, and no line.
            "showPoints": "auto", "spanNulls": False,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
        }
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    elif kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                   "colorMode": "background", "graphMode": "area", "textMode": "auto"}
    return {"type": kind, "title": title, "description": description, "datasource": DATASOURCE,
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": targets,
            "gridPos": {"w": width, "h": height}}


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}}


def placed(panels):
    """Left to right, top to bottom, as a page is read."""
    x = y = tallest = 0
    for number, it in enumerate(panels, 1):
        position = it["gridPos"]
        if x + position["w"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        position.update(x=x, y=y)
        it["id"] = number
        x, tallest = x + position["w"], max(tallest, position["h"])
    return panels


def variable(name, label, kind, query, **more):
    return {"name": name, "label": label, "type": kind, "query": query, "hide": 0, "skipUrlSync": False, **more}


def dashboard(uid, title, description, panels):
    return {
        "uid": uid, "title": title, "description": description, "tags": ["countersign"], "schemaVersion": 39,
        "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"}, "timepicker": {}, "links": [], "annotations": {"list": []},
        "templating": {"list": [
            variable("datasource", "Prometheus", "datasource", "prometheus", current={}, options=[], regex="",
                     refresh=1),
            variable("instance", "Instance", "query",
                     {"query": "label_values(countersign_build_info, instance)", "refId": "instance"},
                     datasource=DATASOURCE, multi=True, includeAll=True, allValue=".+", refresh=2, sort=1, regex="",
                     current={"text": "All", "value": "$__all"}, options=[]),
        ]},
        "panels": placed(panels),
    }


def rate(metric, labels="", by=""):
    grouping = f" by ({by})" if by else ""
    chosen = ", ".join(part for part in (ME, labels) if part)
    return f"sum{grouping} (rate({metric}{{{chosen}}}[$__rate_interval]))"


def quantile(share, metric, by=""):
    grouping = "le" + (f", {by}" if by else "")
    return f"histogram_quantile({share}, sum by ({grouping}) (rate({metric}_bucket{{{ME}}}[$__rate_interval])))"


def latency(metric, by="", exemplar=False):
    label = f" {{{{{by}}}}}" if by else ""
    return [target(quantile(share, metric, by), f"p{int(share * 100)}{label}", exemplar) for share in (0.5, 0.99)]


def value(metric, aggregate="sum", by=""):
    grouping = f" by ({by})" if by else ""
    return f"{aggregate}{grouping} ({metric}{{{ME}}})"


YES_NO = [{"type": "value", "options": {"0": {"text": "NO", "color": "red"}, "1": {"text": "yes", "color": "green"}}}]
# A share of nothing.
QUIET = [{"type": "special", "options": {"match": "null+nan", "result": {"text": "none asked"}}}]

NOW = [
    panel("Audit available", "Can every instance make records durable? If not, it denies everything: look at the spool's "
          "disk (full, read-only, gone) and at the log of that instance.",
          [target(value("countersign_audit_available", "min"))], kind="stat", width=4, height=4, maximum=1,
          thresholds=steps((None, "red"), (1, "green")), mappings=YES_NO),
    panel("Decisions per second", "Decisions, not S3 requests: MinIO asks two or three times for one GET.",
          [target(rate("countersign_decisions_total"))], kind="stat", unit="ops", width=4, height=4),
    panel("Denial rate", "Share of decisions that denied, without the advisory ones, where a deny is not an outcome. "
          "If it jumps, see whether faults jump with it: then something is broken, else a policy has changed.",
          [target(rate("countersign_decisions_total", 'decision="deny", advisory="false"') + " / "
                  + rate("countersign_decisions_total", 'advisory="false"'))],
          kind="stat", unit="percentunit", width=4, height=4, maximum=1, mappings=QUIET,
          thresholds=steps((None, "green"), (0.1, "orange"), (0.5, "red"))),
    panel("Faults per second", "Denies because something failed. Each one is a user who was refused for no reason of "
          "their own. The panel below says whose fault it is.",
          [target(rate("countersign_faults_total"))], kind="stat", unit="ops", width=4, height=4,
          thresholds=steps((None, "green"), (0.01, "orange"), (1, "red"))),
    panel("Oldest record not in Kafka", "How far the published stream is behind. Nothing is lost while the spool has "
          "room; above a minute, look at Kafka and at the errors below.",
          [target(value("countersign_spool_oldest_undelivered_age_seconds", "max"))], kind="stat", unit="s", width=4,
          height=4, thresholds=steps((None, "green"), (60, "orange"), (600, "red"))),
    panel("Last decision", "How long ago the last decision was made. On a busy store, minutes mean that MinIO cannot "
          "reach us, or no longer asks: check MinIO's policy plugin settings.",
          [target(f"time() - max(countersign_last_decision_timestamp_seconds{{{ME}}} > 0)")], kind="stat", unit="s",
          width=4, height=4, thresholds=steps((None, "green"), (300, "orange"))),
]

DECISIONS = [
    panel("Decisions", "By what was decided. Decisions, not S3 requests: one denied GET is two.",
          [target(rate("countersign_decisions_total", by="decision"), "{{decision}}")], unit="ops", stack=True),
    panel("Denial rate by action class", "Without advisory decisions. One class alone points to a policy; all of them "
          "to a fault.",
          [target(rate("countersign_decisions_total", 'decision="deny", advisory="false"', "action_class") + " / "
                  + rate("countersign_decisions_total", 'advisory="false"', "action_class"), "{{action_class}}")],
          unit="percentunit", maximum=1),
    panel("Advisory denies", "Denies that are not an outcome: MinIO only asked whether to show metadata or a list entry. "
          "A client can forge some of the signs, so a sudden rise without more traffic deserves a look at the records.",
          [target(rate("countersign_decisions_total", 'decision="deny", advisory="true"', "action_class"),
                  "{{action_class}}")], unit="ops"),
    panel("Faults by reason", "Side `authorizer`: look at the authorizer and the way to it. `self`: at this machine and "
          "configuration. `caller`: somebody sends what MinIO would not.",
          [target(rate("countersign_faults_total", by="side, reason") + " > 0", "{{side}}: {{reason}}")], unit="ops",
          width=12),
    panel("Busiest routes", "Where decisions come from. Route `none` is what no route matched, and is denied: add a "
          "last route that matches everything.",
          [target("topk(10, " + rate("countersign_decisions_total", by="route") + ")", "{{route}}")], unit="ops",
          width=12),
    panel("Latency by origin", "From the last byte of the question to the answer; the points lead to traces. `cache` "
          "slow: the spool's disk. `authorizer` slow: the authorizer, see below.",
          latency("countersign_decision_duration_seconds", "origin", True), unit="s", width=12),
    panel("In flight", "Decisions under way. Near the limit `listen.max_in_flight` questions wait and then are "
          "`overload`: find out what is slow before raising it.",
          [target(value("countersign_decisions_in_flight", by="instance"), "{{instance}}")], width=6),
    panel("Front requests", "Everything that arrived, by client and outcome. `unauthorized`: a token was rotated on one "
          "side only, or somebody is trying.",
          [target(rate("countersign_front_requests_total", by="client, outcome") + " > 0", "{{client}}: {{outcome}}"),
           target(rate("countersign_probes_total", by="client") + " > 0", "{{client}}: start-up probes")],
          unit="ops", width=6),
]

CACHE = [
    panel("Cache hit ratio", "Share of cacheable decisions that needed no question. A drop right after a start "
          "is normal; a lasting one means that something changing is in the key (see `cache.ignore`).",
          [target(rate("countersign_cache_requests_total", 'result=~"hit|coalesced"') + " / "
                  + rate("countersign_cache_requests_total", 'result!="off"'), "hit or coalesced")],
          unit="percentunit", maximum=1, width=6),
    panel("Cache results", "`off`: the route or the action is not cached.",
          [target(rate("countersign_cache_requests_total", by="result"), "{{result}}")], unit="ops", stack=True,
          width=6),
    panel("Cache entries", "Remembered decisions. At `cache.entries` the ones not used for longest give way.",
          [target(value("countersign_cache_entries", by="instance"), "{{instance}}")], width=6),
    panel("Cache in use", "By route, on every instance. `NO` is right where both lifetimes of the route are 0.",
          [target(value("countersign_cache_enabled", "min", "route"), "{{route}}")], kind="stat", width=6, maximum=1,
          mappings=[{"type": "value", "options": {"0": {"text": "NO", "color": "blue"},
                                                  "1": {"text": "yes", "color": "green"}}}]),
]

AUTHORIZERS = [
    panel("Authorizer latency", "One attempt. If p99 nears the authorizer's `timeout`, denies with `timeout` follow.",
          latency("countersign_authorizer_duration_seconds", "authorizer", True), unit="s"),
    panel("Authorizer outcomes", "What came of each attempt. Anything but `allowed` and `denied` is the authorizer's "
          "fault; the word says which.",
          [target(rate("countersign_authorizer_requests_total", by="authorizer, outcome") + " > 0",
                  "{{authorizer}}: {{outcome}}")], unit="ops"),
    panel("Authorizer in flight", "Attempts under way. At `max_in_flight` the next ones wait and then are "
          "`authorizer_busy`.",
          [target(value("countersign_authorizer_in_flight", by="authorizer"), "{{authorizer}}")]),
]

AUDIT = [
    panel("Append latency", "From handing a record over to its durability; every answer waits for this.",
          latency("countersign_audit_append_duration_seconds"), unit="s", width=6),
    panel("Sync latency", "One fdatasync of the spool. This is the disk: compare with its own numbers. Above 100 ms it is "
          "in trouble, and every answer with it.",
          latency("countersign_spool_sync_duration_seconds"), unit="s", width=6,
          thresholds=steps((None, "green"), (0.1, "orange"))),
    panel("Records in one batch", "How many decisions share one write and sync. Larger under load is good.",
          latency("countersign_audit_batch_records"), width=6),
    panel("Spool growth", "Bytes written.",
          [target(rate("countersign_spool_appended_bytes_total", by="instance"), "{{instance}}")], unit="Bps", width=6),
    panel("Spool size", "At the limit, delivered segments give way; if the undelivered ones fill it, everything is "
          "denied. Bring Kafka back, or raise `audit.max_size` if the disk has room.",
          [target(value("countersign_spool_bytes", by="instance"), "{{instance}}: spool"),
           target(value("countersign_spool_undelivered_bytes", by="instance"), "{{instance}}: undelivered"),
           target(value("countersign_spool_limit_bytes", by="instance"), "{{instance}}: limit")],
          unit="bytes", width=6),
    panel("Undelivered share of the spool", "At 100 % everything is denied with `audit_unavailable`. Delivered records "
          "do not count: they give way.",
          [target(value("countersign_spool_undelivered_bytes", by="instance") + " / "
                  + value("countersign_spool_limit_bytes", by="instance"), "{{instance}}")],
          unit="percentunit", maximum=1, width=6, thresholds=steps((None, "green"), (0.5, "orange"), (0.8, "red"))),
    panel("Time left without Kafka", "Until undelivered records fill the spool, at the present rate and if none is "
          "delivered any more. It is how long you may take to mend Kafka.",
          [target("(" + value("countersign_spool_limit_bytes", by="instance") + " - "
                  + value("countersign_spool_undelivered_bytes", by="instance") + ") / "
                  + rate("countersign_spool_appended_bytes_total", by="instance"), "{{instance}}")],
          unit="s", width=6, thresholds=steps((None, "red"), (3600, "orange"), (14400, "green"))),
    panel("Disk has left", "Of the spool's file system. Below what the spool may still grow, somebody else takes its "
          "room.",
          [target(value("countersign_spool_filesystem_available_bytes", by="instance"), "{{instance}}")],
          unit="bytes", width=6),
    panel("Last checkpoint", "How long ago the chain's head was last signed. Above a minute, records are not becoming "
          "durable: look at *Audit available*.",
          [target(f"time() - max by (instance) (countersign_checkpoint_last_timestamp_seconds{{{ME}}} > 0)", "{{instance}}")],
          unit="s", width=12, thresholds=steps((None, "green"), (60, "orange"), (300, "red"))),
    panel("Records not in Kafka", "Undelivered records. Steady is fine; rising means that Kafka is away or too slow.",
          [target(value("countersign_spool_undelivered_records", by="instance"), "{{instance}}")], width=12),
    panel("Age of the oldest", "How far the stream is behind.",
          [target(value("countersign_spool_oldest_undelivered_age_seconds", "max", "instance"), "{{instance}}")],
          unit="s", width=12, thresholds=steps((None, "green"), (60, "orange"), (600, "red"))),
]

DELIVERY = [
    panel("Delivered to Kafka", "Acknowledged records.",
          [target(rate("countersign_kafka_records_delivered_total", by="instance"), "{{instance}}")], unit="ops",
          width=6),
    panel("Kafka errors", "By librdkafka's name for it; `spool` and `internal` are Countersign's own. "
          "docs/OPERATIONS.md says what to do about each. Records wait in the spool meanwhile.",
          [target(rate("countersign_kafka_errors_total", by="code") + " > 0", "{{code}}")], unit="ops", width=6),
    panel("Delivery latency", "From handing a record to librdkafka to its acknowledgement.",
          latency("countersign_kafka_delivery_duration_seconds"), unit="s", width=6),
    panel("Telemetry lost", "Spans and log lines that were dropped so that decisions need not wait. Spans: the "
          "collector is away or too slow. Lines: whoever reads standard error is.",
          [target(rate("countersign_otlp_spans_dropped_total", by="instance"), "{{instance}}: spans"),
           target(rate("countersign_log_lines_dropped_total", by="instance"), "{{instance}}: log lines")],
          unit="ops", width=6),
]

PROCESS = [
    panel("Memory", "Resident. Flat is right, whatever the backlog.",
          [target(value("process_resident_memory_bytes", by="instance"), "{{instance}}")], unit="bytes", width=6),
    panel("CPU", "Cores in use.", [target(rate("process_cpu_seconds_total", by="instance"), "{{instance}}")], width=6),
    panel("File descriptors", "At the limit no connection is accepted: raise `LimitNOFILE`.",
          [target(value("process_open_fds", by="instance"), "{{instance}}"),
           target(value("process_max_fds", "min"), "lowest limit")], width=6),
    panel("Configuration", "1 while the file as it was last read is in force, and how many instances run which "
          "generation. Two generations at once: not every instance has been restarted with the new file.",
          [target(value("countersign_config_last_reload_successful", "min", "instance"), "{{instance}}: in force"),
           target(f"count by (generation) (countersign_config_info{{{ME}}})", "generation {{generation}}")], width=6),
    panel("Up since", "A start that nobody made is a crash: the log before it says why.",
          [target(value("process_start_time_seconds", "max", "instance") + " * 1000", "{{instance}}")],
          kind="stat", unit="dateTimeFromNow", width=12, height=4),
    panel("Instances", "How many run, by version. Fewer than you deployed: one is down, or Prometheus cannot reach it.",
          [target(f"count by (version) (countersign_build_info{{{ME}}})", "{{version}}")], kind="stat", width=12,
          height=4),
]

PAGES = {
    "decisions.json": dashboard(
        "countersign-decisions", "Countersign: decisions",
        "What is decided, how fast, and whether every record is safe. Start at the top row: red there comes first.",
        [row("Now"), *NOW, row("Decisions"), *DECISIONS, row("Authorizers"), *AUTHORIZERS, row("Cache"), *CACHE,
         row("Audit"), *AUDIT, row("Delivery"), *DELIVERY, row("Process"), *PROCESS]),
}

if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    for name, page in PAGES.items():
        (here / name).write_text(json.dumps(page, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
