// Makes this process hard to starve: real-time priority, locked memory, bounded stacks. Best effort; what could not be
// had is said, and shows in `status`.
#pragma once

#include <pthread.h>

#include <string>

namespace lbcluster::heartbeat {

// Before any thread is made: small stacks for all threads (locked memory counts in full), one heap.
void prepare_memory();
// Locks what is mapped and what will be. Empty: done; else why not.
std::string lock_memory();
// SCHED_RR with this priority (1..99) for a thread. Empty: done; else why not.
std::string set_realtime(pthread_t thread, int priority);

// The heartbeat comes first, then the work on its addresses; both low among the real-time priorities, so that
// the machine's own watchdogs and interrupt threads stay above.
inline constexpr int heartbeat_priority = 20;
inline constexpr int address_priority = 10;

}  // namespace lbcluster::heartbeat
