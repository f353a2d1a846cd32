"""The asv suite: time, memory and quality of fastals over its history."""
