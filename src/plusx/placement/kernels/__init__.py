"""Operations in native code, over the threads that PyTorch runs; everything works without them, only slower."""
