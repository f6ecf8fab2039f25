"""Texts to unit vectors: tokenizer, batcher, ONNX Runtime session, composed in ``encoder``."""
