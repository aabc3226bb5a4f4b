"""Groups of duplicates, found once and kept for the pages that follow.

Finding them reads the grid of every picture: more than a minute for a million. Until pictures come or go, or a mark is
made, the groups stay the same. What may change meanwhile is looked up for each page: paths, and which files are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.search.duplicates import (
    Duplicate,
    DuplicateOptions,
    Group,
    Kept,
    candidate_groups,
    kept_pairs,
    on_disk,
    place_of,
)

LISTS_KEPT = 4
"""How many lists of groups are kept, each of other options."""


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group as it was found: its place among others, and the id, similarity and equality of each member."""

    place: tuple[int, bytes]
    members: tuple[tuple[int, float, bool], ...]

    @classmethod
    def of(cls, group: Group, hidden: Kept) -> StoredGroup:
        """Return what is kept of a group; its place is that without the pairs that are not shown."""
        shown = on_disk(group, hidden, lambda _: True) or group
        return cls(place_of(shown), tuple((one.image.id, one.similarity, one.exact) for one in group))

    def group(self, catalog: CatalogReader) -> Group:
        """Return the group with what the catalog knows of its pictures now."""
        facts = catalog.facts_of(image_id for image_id, _, _ in self.members)
        return tuple(Duplicate(facts[member[0]], *member[1:]) for member in self.members if member[0] in facts)


@dataclass(frozen=True, slots=True)
class GroupCache:
    """The groups that were found last, and in which state of the catalog, by what was asked for; for one thread."""

    _lists: dict[str, tuple[object, list[StoredGroup]]] = field(default_factory=dict)

    def groups(
        self, catalog: CatalogReader, asked: str, options: tuple[Filters, DuplicateOptions]
    ) -> list[StoredGroup]:
        """Return the groups that are asked for, in their places: those of the last time if nothing has changed.

        `asked` tells these filters and options from all others.
        """
        state = state_of(catalog)
        known_state, known = self._lists.pop(asked, (None, []))
        if known_state != state:
            hidden = kept_pairs(catalog, options[1])
            found = (StoredGroup.of(group, hidden) for group in candidate_groups(catalog, *options))
            known = sorted(found, key=lambda group: group.place)
        self._lists[asked] = state, known  # as the last of them
        while len(self._lists) > LISTS_KEPT:
            del self._lists[next(iter(self._lists))]
        return known


def state_of(catalog: CatalogReader) -> object:
    """Return what tells the pictures of a catalog, those that are missing, and the marks from what they were."""
    return catalog.stamp(), catalog.counts().missing, catalog.kept()
