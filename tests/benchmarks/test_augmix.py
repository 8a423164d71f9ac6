import augmix
import pytest


@pytest.mark.slow
def test_every_kind_of_images_from_the_disk(capsys):
    augmix.main(["--from_disk", "16", "24", "--batch_size", "4", "--batches", "1", "--rounds", "1"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if " x " in line]
    assert [row[0].strip() for row in rows] == [
        f"{side} x {side}, {name}" for side in (16, 24) for name in augmix.VIEWS
    ]
    assert all(float(number.replace(",", "")) > 0 for row in rows for number in row[1:])
