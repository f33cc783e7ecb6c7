// Memory that is not needed any more. Shells only.
#pragma once

namespace lbcluster {

// Gives the system back what a daemon that has just read its configuration does not need: free memory of the heap, and
// pages of programs and libraries, most of which only starting needed (relocation, initialisation, the pages around).
// Those come back from the page cache one by one when they are used. Takes some milliseconds: for the thread that has
// read the files, not for the one that answers. Pages that are locked stay.
void trim_memory();

}  // namespace lbcluster
