import shutil

import numpy as np
import pytest

from tfprune.errors import RunFolderError
from tfprune.graph import slim
from tfprune.recipes.ekg.memory_bank import choose_teachers
from tfprune.recipes.ekg.method import EKGMethod
from tfprune.recipes.ekg.stages import build_memory_bank, check_room
from tfprune.search.greedy import Search

from .conftest import tiny_config


@pytest.fixture(scope="module")
def found(tiny, few_digits):
    images, labels = few_digits.normalize(few_digits.train_images[:40]), few_digits.train_labels[:40]
    search = Search(tiny, images, labels, target=0.6, batch_size=24)
    *_, (state, _) = search.run()
    return search.result(state)


@pytest.mark.parametrize("count", [1, 3])
def test_num_teacher_is_the_third_axis(found, few_digits, run_folder, count):
    bank = build_memory_bank(tiny_config(num_teacher=count), found, few_digits, run_folder)
    assert bank.shape == (200, 10, count)
    assert (run_folder.path / "digits_knowledge" / "bank.json").exists()


def test_no_more_teachers_than_the_history_has(found, few_digits, run_folder):
    bank = build_memory_bank(tiny_config(num_teacher=1000), found, few_digits, run_folder)
    assert bank.shape == (200, 10, len(found.history))


def test_teachers_are_entries_of_the_history_in_batches_of_val_batch_size(found, few_digits, run_folder):
    bank = build_memory_bank(tiny_config(num_teacher=2, val_batch_size=50), found, few_digits, run_folder)
    teachers = choose_teachers([entry.loss for entry in found.history], 2)
    images = few_digits.normalize(few_digits.train_images[:50])
    for teacher, index in enumerate(teachers):
        entry = found.history[index]
        small = slim(found.model, found.gates.mask(entry.orders, entry.rates), found.groups, rescale_kernels=True)
        np.testing.assert_allclose(bank[np.arange(50)][:, :, teacher], small(images, training=True), atol=1e-4)


def test_the_same_bank_is_not_built_twice(found, few_digits, run_folder):
    build_memory_bank(tiny_config(), found, few_digits, run_folder)
    file = run_folder.path / "digits_knowledge" / "shard-00000.npy"
    before = file.stat().st_mtime_ns
    build_memory_bank(tiny_config(), found, few_digits, run_folder)
    assert file.stat().st_mtime_ns == before


def test_number_format_and_shards_are_those_of_the_settings(found, few_digits, run_folder):
    config = tiny_config(knowledge_dtype="float16", knowledge_shard=100)
    assert build_memory_bank(config, found, few_digits, run_folder).dtype == np.float16
    assert len(list((run_folder.path / "digits_knowledge").glob("shard-*.npy"))) == 2


def test_room_is_looked_for_before_the_search(few_digits, run_folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(run_folder.path)._replace(free=39_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    needed = {"num_teacher": 5, "knowledge_dtype": "float32"}  # 200 x 10 x 5 x 4 bytes
    with pytest.raises(RunFolderError, match="no room for the memory bank"):
        check_room(tiny_config(**needed), few_digits, run_folder)
    check_room(tiny_config(**needed | {"knowledge_dtype": "float16"}), few_digits, run_folder)
    with pytest.raises(RunFolderError, match="no room for the memory bank"):  # before anything is trained
        EKGMethod(tiny_config(**needed, train_path=str(tmp_path / "whole")), few_digits).run()
    assert not (tmp_path / "whole" / "metrics").exists()
    for off in ({"searching": False}, {"Knowledge": False}, {"train_epoch": 0}):
        check_room(tiny_config(**needed, **off), few_digits, run_folder)
