"""The page *Audit*: is every record durable, for how long is there room, and how far is Kafka behind."""

from house import YES_NO, Target, age, colours, latency, lines, number, page as a_page, rate, value

AGE = "countersign_spool_oldest_undelivered_age_seconds"
CHECKPOINT = "countersign_checkpoint_last_timestamp_seconds"
APPENDED = "countersign_spool_appended_bytes_total"
# What undelivered records may grow to: the limit, or what the disk has room for. Delivered segments give way.
SPOOL = value("countersign_spool_bytes", by="instance")
UNDELIVERED = value("countersign_spool_undelivered_bytes", by="instance")
LIMIT = value("countersign_spool_limit_bytes", by="instance")
DISK = f"({SPOOL} + {value('countersign_spool_filesystem_available_bytes', by='instance')})"
MOST = f"(({LIMIT} <= {DISK}) or {DISK})"
ROOM = f"{MOST} - {UNDELIVERED}"
LEFT = f"({ROOM}) / {rate(APPENDED, by='instance')}"
AGES = colours((None, "green"), (60, "orange"), (600, "red"))
HOURS = colours((None, "red"), (3600, "orange"), (4 * 3600, "green"))

NOW = [
    number("Audit available", "Can every instance make records durable? If not, it denies everything: look at the disk "
           "under the spool (full, read-only, gone) and at the log of that instance. It recovers by itself.",
           [Target(value("countersign_audit_available", "min"))], maximum=1, limits=colours((None, "red"), (1, "green")),
           words=[YES_NO]),
    number("Room without Kafka", "How long until undelivered records fill the spool of the fullest instance, at the present "
           "rate and if none is delivered any more: how long you may take to mend Kafka.", [Target(f"min ({LEFT})")],
           unit="s", limits=HOURS),
    number("Oldest record not in Kafka", "How far the published stream is behind. Nothing is lost while the spool has room; "
           "above a minute, look at Kafka and at *Kafka errors*.", [Target(value(AGE, "max"))], unit="s", limits=AGES),
    number("Records not in Kafka", "The backlog of all instances. Steady is fine; rising means that Kafka is away or too "
           "slow.", [Target(value("countersign_spool_undelivered_records"))]),
    number("Last checkpoint", "How long ago the instance that is last signed its chain's head. Above a few times "
           "`audit.checkpoint_every`, records are not becoming durable or cannot be signed: see the log.",
           [Target(f"max ({age(CHECKPOINT, 'instance')})")], unit="s", limits=colours((None, "green"), (60, "orange"), (300, "red"))),
    number("Delivered per second", "Records that Kafka acknowledged.",
           [Target(rate("countersign_kafka_records_delivered_total"))], unit="ops"),
]

DURABLE = [
    lines("Append latency", "From handing a record over to its durability; every answer waits for this.",
          latency("countersign_audit_append_duration_seconds"), unit="s", width=8),
    lines("Sync latency", "One fdatasync of the spool. This is the disk: compare with its own numbers. Above 100 ms it is in "
          "trouble, and every answer with it.", latency("countersign_spool_sync_duration_seconds"), unit="s", width=8,
          limits=colours((None, "green"), (0.1, "orange"))),
    lines("Records in one batch", "How many decisions share one write and sync. Larger under load is good.",
          latency("countersign_audit_batch_records"), width=8),
]

ROOM_LEFT = [
    lines("Time left without Kafka", "Until undelivered records fill the spool or the disk, at the present rate and if none "
          "is delivered any more. Below an hour: mend Kafka now, or raise `audit.max_size` if the disk has room.",
          [Target(LEFT, "{{instance}}")], unit="s", width=8, limits=HOURS),
    lines("Undelivered share of the spool", "Of its limit, or of what the disk has room for where that is less. At 100 % everything "
          "is denied with `audit_unavailable`. Delivered records do not count: they give way.",
          [Target(f"{UNDELIVERED} / {MOST}", "{{instance}}")], unit="percentunit", maximum=1,
          width=8, limits=colours((None, "green"), (0.5, "orange"), (0.8, "red"))),
    lines("Spool size", "At the limit, delivered segments give way; if undelivered ones fill it, everything is denied.",
          [Target(SPOOL, "{{instance}}: spool"), Target(UNDELIVERED, "{{instance}}: undelivered"),
           Target(LIMIT, "{{instance}}: limit")], unit="bytes", width=8),
    lines("Spool growth", "Bytes written.", [Target(rate(APPENDED, by="instance"), "{{instance}}")], unit="Bps", width=12),
    lines("Disk has left", "Of the spool's file system. If it falls faster than the spool grows, somebody else takes its "
          "room: give the spool a file system of its own.",
          [Target(value("countersign_spool_filesystem_available_bytes", by="instance"), "{{instance}}")], unit="bytes",
          width=12),
]

DELIVERY = [
    lines("Oldest record not in Kafka", "How far the stream is behind: what a reader of Kafka cannot know yet.",
          [Target(value(AGE, "max", "instance"), "{{instance}}")], unit="s", limits=AGES),
    lines("Records not in Kafka", "Undelivered records. Rising: Kafka is away or too slow.",
          [Target(value("countersign_spool_undelivered_records", by="instance"), "{{instance}}")]),
    lines("Delivered to Kafka", "Acknowledged records, beside the decisions that were made. After an outage delivery runs "
          "faster than decisions until it has caught up.",
          [Target(rate("countersign_kafka_records_delivered_total"), "delivered"),
           Target(rate("countersign_decisions_total"), "decided")], unit="ops"),
    lines("Kafka errors", "By librdkafka's name for it; `spool` and `internal` are Countersign's own. docs/KAFKA.md "
          "says what to do about each. Records wait in the spool meanwhile.",
          [Target(rate("countersign_kafka_errors_total", by="code") + " > 0", "{{code}}")], unit="ops", width=12),
    lines("Delivery latency", "From handing a record to librdkafka to its acknowledgement: the brokers and the way there.",
          latency("countersign_kafka_delivery_duration_seconds"), unit="s", width=12),
]

TRAIL = [
    lines("Age of the last checkpoint", "How long ago each chain's head was last signed. What is newer than it could be cut "
          "off unnoticed.", [Target(age(CHECKPOINT, "instance"), "{{instance}}")], unit="s", width=24, height=6,
          limits=colours((None, "green"), (60, "orange"), (300, "red"))),
]


def page():
    return a_page(
        "countersign-audit", "Countersign: audit",
        "Is every record durable, for how long is there room, and how far is Kafka behind. The room without Kafka is the "
        "number to know during an outage.",
        [("Now", NOW), ("Durable before the answer", DURABLE), ("Room", ROOM_LEFT), ("On the way to Kafka", DELIVERY),
         ("Checkpoints", TRAIL)])
