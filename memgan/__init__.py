from memgan.memory import MEMORY_PRESETS, MemorySettings, VMFMemory
