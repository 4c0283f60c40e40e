"""Pretrain: from shards of synthetic faces to a backbone (sections 3.2, 3.3 and 4.1 of the paper)."""
