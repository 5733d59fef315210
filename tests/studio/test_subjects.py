"""Names of subjects keep their order; an embedded set brings its network."""

from elsewhere.studio.subjects import Subjects


def test_reading_a_set_does_not_change_the_order_of_names(subjects):
    fresh = Subjects()
    before = fresh.names
    assert fresh["hands"].network_name == "hands-resnet"
    assert fresh.names == before
    assert before[0] == "fashion-mini"
