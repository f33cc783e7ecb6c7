#include "tests/lab/measure.hpp"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>

namespace lbcluster::lab {

bool full_run() {
    const char* value = std::getenv("LBCLUSTER_FULL");
    return value != nullptr && std::string(value) == "1";
}

// ---- packets ----

SentPackets::SentPackets(const Namespace& host, const std::string& interface)
    : fd_(open_tap(host, interface)), thread_([this] { watch(); }) {}

SentPackets::~SentPackets() {
    ending_ = true;
    thread_.join();
    ::close(fd_);
}

void SentPackets::watch() {
    FrameBuffer buffer{};
    while (!ending_) {
        pollfd ready{fd_, POLLIN, 0};
        if (::poll(&ready, 1, 20) <= 0) continue;
        Arrival arrival;
        while (read_frame(fd_, buffer, arrival)) {
            if (arrival.outgoing) look(buffer.data(), arrival.bytes, arrival.time_ns);
        }
    }
}

void SentPackets::look(const std::uint8_t* frame, std::size_t bytes, std::int64_t time_ns) {
    const std::uint8_t* body = frame + ETHER_HDR_LEN;
    const bool ip4 = bytes >= ETHER_HDR_LEN + 28 && frame[12] == 8 && frame[13] == 0;
    const std::lock_guard lock(mutex_);
    if (ip4 && body[9] == IPPROTO_UDP) {
        const std::uint8_t* udp = body + (body[0] & 15U) * 4U;
        if (udp + 4 <= frame + bytes && udp[2] * 256 + udp[3] == 6694) heartbeats_.push_back(time_ns);
    } else if (const auto message = neighbor_message(frame, bytes); message && message->announcement) {
        announcements_.push_back({time_ns, message->address});
    }
}

void SentPackets::mark() {
    const std::lock_guard lock(mutex_);
    heartbeats_.clear();
    announcements_.clear();
}

std::vector<std::int64_t> SentPackets::heartbeats() const {
    const std::lock_guard lock(mutex_);
    return heartbeats_;
}

std::vector<SentPackets::Announcement> SentPackets::announcements() const {
    const std::lock_guard lock(mutex_);
    return announcements_;
}

Nanoseconds SentPackets::longest_heartbeat_gap() const {
    const auto times = heartbeats();
    Nanoseconds longest{};
    for (std::size_t i = 1; i < times.size(); ++i) longest = std::max(longest, Nanoseconds(times[i] - times[i - 1]));
    return longest;
}

std::map<std::string, std::set<std::string>> who_answers(const Namespace& host, const std::string& interface,
                                                         const std::string& own_v4, const std::string& own_v6,
                                                         const std::vector<std::string>& addresses, Nanoseconds limit) {
    Mac mac{};
    const int fd = open_tap(host, interface, &mac);
    std::map<std::string, std::set<std::string>> answers;
    const std::set<std::string> asked(addresses.begin(), addresses.end());
    FrameBuffer buffer{};
    const auto read_for = [&](std::chrono::milliseconds time) {
        const TimePoint end = Clock::now() + time;
        while (Clock::now() < end) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
            pollfd ready{fd, POLLIN, 0};
            if (::poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0) return;
            Arrival arrival;
            while (read_frame(fd, buffer, arrival)) {
                if (arrival.outgoing) continue;
                const auto message = neighbor_message(buffer.data(), arrival.bytes);
                if (message && message->answer && asked.contains(message->address))
                    answers[message->address].insert(message->mac);
            }
        }
    };
    const TimePoint deadline = Clock::now() + limit;
    do {
        std::size_t sent = 0;
        for (const std::string& address : addresses) {
            if (answers.contains(address)) continue;
            const bool v6 = address.find(':') != std::string::npos;
            const Frame frame = neighbor_question(mac, v6 ? own_v6 : own_v4, address);
            ::send(fd, frame.data(), frame.size(), 0);
            if (++sent % 50 == 0) read_for(2ms);
        }
        read_for(100ms);
    } while (answers.size() < asked.size() && Clock::now() < deadline);
    ::close(fd);
    return answers;
}

// ---- load ----

Burners::Burners(unsigned count) {
    for (unsigned i = 0; i < count; ++i)
        pids_.push_back(spawn(nullptr, Spawn{.argv = {"sh", "-c", "while :; do :; done"}}));
}

Burners::~Burners() {
    for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
    for (const pid_t pid : pids_) ::waitpid(pid, nullptr, 0);
}

// ---- what the daemon says ----

std::vector<Json> events_of(const Pair& pair, const std::string& node) {
    const Outcome outcome = pair.cli(node, {"events", "--json"}, 5s);
    std::vector<Json> events;
    for (std::size_t begin = 0; begin < outcome.out.size();) {
        const std::size_t end = std::min(outcome.out.find('\n', begin), outcome.out.size());
        if (end > begin) events.push_back(Json::parse(outcome.out.substr(begin, end - begin)));
        begin = end + 1;
    }
    return events;
}

bool has_event(const Pair& pair, const std::string& node, const std::string& kind, const std::string& part) {
    const auto events = events_of(pair, node);
    return std::any_of(events.begin(), events.end(), [&](const Json& event) {
        return event["kind"].text() == kind && event["text"].text().find(part) != std::string::npos;
    });
}

std::uint64_t counter_of(const Pair& pair, const std::string& node, const std::string& name) {
    return static_cast<std::uint64_t>(pair.status(node)["counters"][name].number());
}

}  // namespace lbcluster::lab
