"""The Ray shell around the engine: makes decisions durable, then lets them out.

Read in this order: `hall` with `agent`, `call`, `skill_queue` (what a caller holds), `mailbox` (how messages travel),
`shard` (where they are decided), `journal` (where they become durable), `performer` (what they cause), `supervisor` (what keeps
everything running), `wiring` (the only place that knows Ray).
"""
