"""The list of attacks that a probe can make."""

from dataclasses import dataclass

from app.text.perturbations.registry import FAMILIES


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """What there is to know about an attack before choosing it; see ``Family``."""

    name: str
    description: str
    scripts: tuple[str, ...]
    cost: int
    needs: tuple[str, ...]


def list_attacks() -> tuple[AttackInfo, ...]:
    """List the attacks that there are."""
    return tuple(
        AttackInfo(f.name, f.description, f.scripts, f.cost, f.needs) for f in FAMILIES.values()
    )
