// First index of a loop: 0. A software rasteriser is told at run time: with constant trip counts its compiler unrolls
// every loop over the network's inputs and takes minutes for what it runs no faster.
fn start() -> u32 {
#if SOFTWARE
    return step.zero;
#else
    return 0u;
#endif
}

// The same for loops that no compiler is to unroll, because what is in them is long.
fn rolled() -> u32 {
    return step.zero;
}
