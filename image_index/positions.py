"""Positions on the earth: how far apart two are, and what lies within a distance of one.

The earth is a sphere here, of the mean radius: distances are wrong by at most 0.6 %, for it is flatter at the poles.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin, sqrt

EARTH_RADIUS_M = 6_371_008.8
"""The mean radius of the earth (IUGG)."""

_SLACK = 1e-9
"""By how many degrees a box is larger than it must be, 0.1 mm: rounding must not cost a picture on the edge."""


def distance_m(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the great-circle distance of two positions in degrees, by the haversine formula."""
    north, south = radians(latitude), radians(other_latitude)
    across = radians(other_longitude - longitude)
    square = sin((south - north) / 2) ** 2 + cos(north) * cos(south) * sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(sqrt(min(1.0, square)))


@dataclass(frozen=True, slots=True)
class Circle:
    """All positions that are at most `radius_m` from one in degrees."""

    latitude: float
    longitude: float
    radius_m: float

    def distance_m(self, latitude: float | None, longitude: float | None) -> float | None:
        """Return how far a position is from the middle, None for one that is not known."""
        if latitude is None or longitude is None:
            return None
        return distance_m(self.latitude, self.longitude, latitude, longitude)

    def latitudes(self) -> tuple[float, float]:
        """Return the southernmost and the northernmost latitude."""
        reach = degrees(self.radius_m / EARTH_RADIUS_M) + _SLACK
        return self.latitude - reach, self.latitude + reach

    def longitudes(self) -> list[tuple[float, float]]:
        """Return ranges of longitudes, from west to east, that hold the circle: two across the date line."""
        angle = self.radius_m / EARTH_RADIUS_M
        south, north = self.latitudes()
        if south <= -90 or north >= 90 or angle >= pi / 2:  # there is a pole inside, and every longitude
            return [(-180.0, 180.0)]
        reach = degrees(asin(min(1.0, sin(angle) / cos(radians(self.latitude))))) + _SLACK
        west, east = self.longitude - reach, self.longitude + reach
        if west < -180:
            return [(west + 360, 180.0), (-180.0, east)]
        if east > 180:
            return [(west, 180.0), (-180.0, east - 360)]
        return [(west, east)]
