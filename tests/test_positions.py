"""Distances on the earth, and the boxes in which circles lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.positions import EARTH_RADIUS_M, Circle, distance_m

latitudes, longitudes = st.floats(-90, 90), st.floats(-180, 180)
HALF_WAY_M = math.pi * EARTH_RADIUS_M


def on_sphere(latitude: float, longitude: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a position as a vector of length one."""
    north, east = math.radians(latitude), math.radians(longitude)
    return np.array([math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)])


@given(latitudes, longitudes, latitudes, longitudes)
def test_the_distance_is_the_angle_between_two_vectors(one: float, at: float, other: float, there: float) -> None:
    """The other way to compute it, which has no special places."""
    first, second = on_sphere(one, at), on_sphere(other, there)
    angle = math.atan2(float(np.linalg.norm(np.cross(first, second))), float(first @ second))
    assert distance_m(one, at, other, there) == pytest.approx(angle * EARTH_RADIUS_M, abs=0.2)


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ((48.8584, 2.2945), (51.5007, -0.1246), 340.895),  # the Eiffel tower and Big Ben, by Vincenty's formula
        ((-33.8569, 151.2152), (40.6892, -74.0445), 15_983.548),  # the opera of Sydney and the statue of Liberty
    ],
)
def test_places_are_as_far_apart_as_a_geodesic_says(
    one: tuple[float, float], other: tuple[float, float], km: float
) -> None:
    """Within what a sphere is wrong by."""
    assert distance_m(*one, *other) / 1000 == pytest.approx(km, rel=0.006)


@given(latitudes, longitudes, st.floats(0.01, 25_000_000), latitudes, longitudes)
def test_what_is_in_a_circle_is_in_its_box(
    latitude: float, longitude: float, radius_m: float, other: float, there: float
) -> None:
    """Wherever it lies: across the date line, and over a pole."""
    circle = Circle(latitude, longitude, radius_m)
    distance = circle.distance_m(other, there)
    assert distance is not None
    if distance <= radius_m:
        assert in_box(circle, other, there)


@given(latitudes, longitudes, st.floats(1, HALF_WAY_M), st.floats(0, 2 * math.pi))
def test_the_edge_of_a_circle_is_in_its_box(latitude: float, longitude: float, radius_m: float, way: float) -> None:
    """The corners of the box, which random places hardly ever meet."""
    angle = radius_m / EARTH_RADIUS_M
    north = math.radians(latitude)
    sine = math.sin(north) * math.cos(angle) + math.cos(north) * math.sin(angle) * math.cos(way)
    other = math.asin(min(1.0, max(-1.0, sine)))
    east = math.atan2(math.sin(way) * math.sin(angle) * math.cos(north), math.cos(angle) - math.sin(north) * sine)
    there = (longitude + math.degrees(east) + 180) % 360 - 180
    circle = Circle(latitude, longitude, radius_m + 0.01)
    assert in_box(circle, math.degrees(other), there)


def in_box(circle: Circle, latitude: float, longitude: float) -> bool:
    """Tell whether a position is in the box around a circle."""
    south, north = circle.latitudes()
    return south <= latitude <= north and any(west <= longitude <= east for west, east in circle.longitudes())


@pytest.mark.parametrize(
    ("circle", "ranges"),
    [
        (Circle(0, 0, 111_195.08), [(-1, 1)]),
        (Circle(60, 10, 111_195.08), [(8, 12)]),
        (Circle(0, 179.5, 111_195.08), [(178.5, 180), (-180, -179.5)]),
        (Circle(0, -179.5, 111_195.08), [(179.5, 180), (-180, -178.5)]),
        (Circle(89.5, 10, 111_195.08), [(-180, 180)]),
        (Circle(-90, 10, 1), [(-180, 180)]),
    ],
)
def test_a_box_is_no_larger_than_it_must_be(circle: Circle, ranges: list[tuple[float, float]]) -> None:
    """One degree is 111 km, away from the equator more of them; at a pole there is every longitude."""
    found = circle.longitudes()
    assert np.array(found) == pytest.approx(np.array(ranges), abs=0.01)


def test_what_is_not_known_has_no_distance() -> None:
    """There is nothing to compare."""
    assert Circle(1, 2, 3).distance_m(None, None) is None
