from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_toys import few_images
from PIL import Image
from test_report import Page

import elsewhere as els
from elsewhere.analysis import audit_report
from elsewhere.analysis.audit_report import render_audit
from elsewhere.analysis.auditing import audit


@pytest.fixture(scope="module")
def found() -> els.Audit:
    data = few_images(12)
    images = torch.cat([few_images(3, seed=1).images, data.images[2:3], data.images[5:6].flip(-1)])
    made = els.ImageSet(images, name="<script>made</script>")
    return audit(data, made, pixels=2, about={"command": "elsewhere audit few made"})


def test_the_page_stands_alone_and_says_what_was_found(found: els.Audit) -> None:
    page = Page(render_audit(found))
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    # The explanation view; it reads nothing from elsewhere, and names of sets do not end its scripts.
    assert page.tags.count("script") == 2
    for words in (
        "Among 5 generated images: 1 copy and 1 near copy of training images.",
        "<script>made</script>",
        "elsewhere audit few made",
        found.training.fingerprint(),
        found.generated.fingerprint(),
        "What this audit cannot detect",
        "mirrored upside down",
        "mirroring left to right",
        "Yoon, Choi, Kwon and Ryu",
        "arXiv 2301.13188",
        f"below {found.near:.3f}",
        "locally consistent",
    ):
        assert words in page.text


def test_the_page_gathers_what_the_traced_images_say(found: els.Audit) -> None:
    text = " ".join(Page(render_audit(found)).text.split())
    assert "2 of 5 generated images were traced pixel by pixel" in text
    assert found.provenance is not None
    assert found.held_out is not None
    for whose, traced in (("generated", found.provenance), ("training", found.held_out)):
        for name, values, digits in (
            ("locally consistent pixels", 100 * traced.consistent, 1),
            ("effective number of source images", traced.sources, 0),
        ):
            row = text.split(f"{name}, {whose} images")[1]
            low, first, middle, third, high = (
                f"{value:.{digits}f}" for value in np.quantile(values.numpy(), [0, 0.25, 0.5, 0.75, 1])
            )
            unit = " %" if digits else ""
            wanted = f" {len(values)} {middle}{unit} {first} to {third}{unit} {low} to {high}{unit}"
            assert row.startswith(wanted)


def test_the_gravest_images_come_first(found: els.Audit) -> None:
    text = Page(render_audit(found)).text
    places = [text.index(f"generated #{i}") for i in (3, 4, 0)]
    assert places == sorted(places)


def test_further_images_are_folded_and_the_rest_is_counted(found: els.Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_report, "FIRST_ROWS", 2)
    monkeypatch.setattr(audit_report, "MOST_ROWS", 4)
    page = Page(render_audit(found))
    assert "2 more" in page.text
    assert "1 further image is in results.csv" in page.text
    # Five pictures a row and the histogram.
    assert page.tags.count("img") == 4 * 5 + 1


def test_the_difference_of_a_copy_is_black(found: els.Audit) -> None:
    black = audit_report._differences(found, torch.tensor([3, 4]))
    assert (black == -1).all()
    assert (audit_report._differences(found, torch.tensor([0])) > -1).any()


def test_saving_writes_every_file(found: els.Audit, tmp_path: Path) -> None:
    found.save(tmp_path / "deep")
    names = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert names == ["distances.png", "pairs.png", "report.html", "results.csv", "results.json"]
    assert json.loads((tmp_path / "deep" / "results.json").read_text()) == json.loads(found.to_json())
    assert Image.open(tmp_path / "deep" / "pairs.png").height > 500


def test_nothing_is_written_when_the_folder_cannot_be(found: els.Audit, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write the audit to .*taken.*choose another folder"):
        found.save(tmp_path / "taken")


def test_an_audit_without_traced_pixels_says_so(found: els.Audit) -> None:
    without = replace(found, traced=found.traced[:0], provenance=None, held_out=None, verdicts=("no copy",) * 5)
    text = Page(render_audit(without)).text
    assert "locally consistent, from" not in text
    assert "No image was traced pixel by pixel" in text
    assert "effective number of source images" not in text
    assert "No copy of a training image was found among 5 generated images under these criteria." in text
