// Makes this process hard to starve: real-time priority, locked memory, bounded stacks. Best effort; what could not be
// had is said, and shows in `status`.
//
// Memory. Locking everything that is mapped would keep whole shared libraries resident, of which a heartbeat needs a
// few pages. So pages are locked when they are first touched (MCL_ONFAULT), and what heartbeats, take-overs and the
// address work need is fetched at the start: this program and the C and C++ libraries as a whole, some heap, the stacks
// of the real-time threads. Of the other libraries (cryptography, protobuf) what only the start has touched is given
// back, and the daemon rehearses a heartbeat, which fetches what every later one uses. What is left to be read from
// disk may wait: reading the configuration, and words for errors that nobody has met yet.
#pragma once

#include <pthread.h>

#include <string>
#include <vector>

namespace lbcluster::heartbeat {

// Before any thread is made: small stacks for all threads (locked memory counts in full), one heap.
void prepare_memory();
// Locks what is in memory and what will be, and fetches what the calling thread and `threads` need. After everything
// is open. Empty: done; else why not.
std::string lock_memory(const std::vector<pthread_t>& threads);
// SCHED_RR with this priority (1..99) for a thread, not for those that it makes: after a restart by command the first
// thread still has it, and reading files must not get it from there. Empty: done; else why not.
std::string set_realtime(pthread_t thread, int priority);

// The heartbeat comes first, then the work on its addresses; both low among the real-time priorities, so that
// the machine's own watchdogs and interrupt threads stay above.
inline constexpr int heartbeat_priority = 20;
inline constexpr int address_priority = 10;

}  // namespace lbcluster::heartbeat
