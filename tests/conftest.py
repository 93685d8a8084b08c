"""What every test leaves as it found it."""

import pytest
import torch


@pytest.fixture(autouse=True)
def process_wide_state_is_put_back():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("default")
