// Blocking use of the bus, for the command line and tools: connect, ask, go. Every function ends by its deadline.
//
// Error::code says what it was: ENOENT, ECONNREFUSED (nobody listens), ECONNRESET (closed in the middle), EACCES (may
// not), ETIMEDOUT, EPROTONOSUPPORT (other version of the protocol), EPROTO and EMSGSIZE (not our language).
#pragma once

#include <lbcluster/state.pb.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"

namespace lbcluster::bus {

struct Fetched {
    Hello server;
    std::vector<Item> items;
};

Result<Fetched> fetch_all(const std::string& path, const std::string& prefix, std::chrono::milliseconds timeout);
Result<std::vector<Item>> fetch(const std::string& path, const std::string& prefix, std::chrono::milliseconds timeout);

// The daemon's answer; a refusal is an answer too (exit_code).
Result<Reply> call(const std::string& path, Call call, std::chrono::milliseconds timeout);

// Gives the whole snapshot (first: true), then each update, until `on_items` returns false or the connection ends
// (an error then). `timeout` is for connecting and the snapshot. If `wake` is not negative, on_items(false, {}) is
// called each time `wake` has passed without an update.
using FollowHandler = std::function<bool(bool first, const std::vector<Item>& items)>;
Result<void> follow(const std::string& path, const std::string& prefix, const FollowHandler& on_items,
                    std::chrono::milliseconds timeout, std::chrono::milliseconds wake = std::chrono::milliseconds{-1});

// Somebody listens there (says nothing about whether he answers).
bool listens(const std::string& path);

// The CLI's exit code for a transport error: 4 not reachable, 5 may not, 6 timed out.
int exit_code_of(const Error& error);

}  // namespace lbcluster::bus
