#pragma once

namespace kvasir {

// Asks the kernel to let the calling thread run soon after it wakes, and a short while at a time: for threads
// that pass on what others compute. Without it a thread that wakes waits for the computing ones to use up
// their slices, some milliseconds each, when every core is computing. No effect before Linux 6.12.
void prefer_short_slices();

}  // namespace kvasir
