"""The Ray shell around the engine: makes decisions durable, then lets them out.

Read in this order: `hall` with `agent`, `call`, `skill_queue` (what a caller holds), `mailbox` (how messages travel),
`shard` (where they are decided) with `intake` (what waits for it), `stepping` (what a bug may cost) and `audience` (who hears
of it), `feed` (how clients hear of it), `journal` (where decisions become durable), `performer` (what they cause), `supervisor`
(what keeps everything running), `wiring` (the only place that knows Ray).
"""
