"""Needs: which skills a call asks for at a relaxation step, its own wishes included."""

from dispatch.choice import Need, need_of
from dispatch.model import Call
from dispatch.plan import QueuePlan


def own_needs(call: Call) -> tuple[Need, Need]:
    """What the call itself asks for: (skills beside the queue's, a second person's skills)."""
    wishes = call.wishes
    if wishes is None:
        return (), ()
    return need_of(wishes.need), need_of(wishes.joint_need)


def need_at(plan: QueuePlan, step: int, own: Need) -> dict[str, int]:
    """The need that is open at a relaxation step, with the call's own skills; of a skill in both the higher level counts."""
    need = plan.relaxation[step - 1].need if step else plan.need
    if not own:
        return need
    merged = dict(need)
    for skill, level in own:
        merged[skill] = max(level, merged.get(skill, 0))
    return merged
