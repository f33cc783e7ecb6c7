// The kernel's IPVS by generic netlink. Many steps travel in one system call; the kernel works on them in order, and
// tells of each one that failed. Calls block until the kernel has answered, at most a few seconds. One thread.
//
// A kernel without the family IPVS gives ENOENT: the module is asked for once (modprobe), as nothing else does it.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "forwarder/ipvs/messages.hpp"
#include "forwarder/reading.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::forward::ipvs {

class Socket {
  public:
    static Result<Socket> open();
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket();

    Result<std::string> version();
    Result<Reading> read(const std::set<ServiceKey>& which);
    std::vector<Result<void>> carry_out(std::span<const Step> steps);
    Result<std::vector<Sync>> syncs();
    Result<void> start_sync(const Sync& sync);
    Result<void> stop_sync(const Sync& sync);
    Result<Timeouts> timeouts();
    Result<void> set_timeouts(const Timeouts& timeouts);

  private:
    using Handler = std::function<void(nlmsghdr*)>;

    Socket(int fd, std::uint16_t family) : fd_(fd), family_(family) {}
    [[nodiscard]] Envelope next(bool acknowledge) { return {family_, ++sequence_, acknowledge}; }
    // Sends, and reads until the answer to the last message: its acknowledgement or the end of its dump. `answer` gets
    // every message that is neither; the errno of a message by its place.
    Result<void> exchange(const Bytes& request, std::uint32_t first, std::size_t count, const Handler& answer,
                          const std::function<void(std::size_t, int)>& failed);
    // One message; its error is the result.
    Result<void> ask(const std::string& what, const Bytes& request, const Handler& answer);
    Result<void> carry_out_some(std::span<const Step> steps, std::span<Result<void>> results);

    int fd_ = -1;
    std::uint16_t family_ = 0;
    std::uint32_t sequence_ = 0;
    std::vector<char> buffer_;
};

}  // namespace lbcluster::forward::ipvs
