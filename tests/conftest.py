"""What every test leaves as it found it, and what it may count on."""

import signal
import threading

import pytest
import torch

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A shell starts jobs in the background so; tests send the signal, to themselves and to what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def random_numbers_do_not_depend_on_the_tests_before():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def process_wide_state_is_put_back():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("default")
