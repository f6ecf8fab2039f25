"""Checkpoint -> ONNX graphs -> verified artifact."""
