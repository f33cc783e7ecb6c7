#include "tests/lab/observer.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace lbcluster::lab {

AddressObserver::AddressObserver(const Namespace& host, const std::string& interface, const std::string& address,
                                 Nanoseconds pace)
    : target_(address), pace_(pace) {
    const bool v6 = address.find(':') != std::string::npos;
    Mac mac{};
    fd_ = open_tap(host, interface, &mac);
    for (std::size_t i = 0; i < senders; ++i) {
        own_[i] = v6 ? "fd77::f" + std::to_string(i) : "10.77.0." + std::to_string(240 + i);
        frames_[i] = neighbor_question(mac, own_[i], address);
    }
    thread_ = std::thread([this] { watch(); });
}

AddressObserver::~AddressObserver() {
    ending_ = true;
    thread_.join();
    ::close(fd_);
}

void AddressObserver::watch() {
    use_realtime(45);
    TimePoint due = Clock::now();
    while (!ending_) {
        if (Clock::now() >= due) {
            ask();
            due = std::max(due + pace_, Clock::now());
        }
        pollfd ready{fd_, POLLIN, 0};
        const std::int64_t left = std::max<std::int64_t>(Nanoseconds(due - Clock::now()).count(), 0);
        const timespec wait{0, left};
        if (::ppoll(&ready, 1, &wait, nullptr) > 0) receive();
    }
}

void AddressObserver::ask() {
    const std::lock_guard lock(mutex_);
    const Frame& frame = frames_[questions_.size() % senders];
    questions_.push_back({Clock::now(), {}});
    ::send(fd_, frame.data(), frame.size(), 0);
}

void AddressObserver::receive() {
    FrameBuffer buffer{};
    Arrival arrival;
    while (read_frame(fd_, buffer, arrival)) {
        if (arrival.outgoing) continue;
        const auto message = neighbor_message(buffer.data(), arrival.bytes);
        if (!message || message->address != target_) continue;
        const std::lock_guard lock(mutex_);
        if (message->announcement) announcements_.emplace_back(Clock::now(), message->mac);
        if (!message->answer) continue;
        // The newest question that was sent from this address.
        const auto sender = static_cast<std::size_t>(std::find(own_.begin(), own_.end(), message->to) - own_.begin());
        for (std::size_t back = 1; back <= std::min(senders, questions_.size()); ++back) {
            const std::size_t index = questions_.size() - back;
            if (index % senders != sender) continue;
            auto& answers = questions_[index].answers;
            if (std::find(answers.begin(), answers.end(), message->mac) == answers.end())
                answers.push_back(message->mac);
            break;
        }
    }
}

void AddressObserver::mark() {
    const std::lock_guard lock(mutex_);
    mark_ = Clock::now();
}

ObserverReport AddressObserver::report(Nanoseconds linger) const {
    const TimePoint end = Clock::now();
    std::this_thread::sleep_for(linger);
    const std::lock_guard lock(mutex_);
    ObserverReport report;
    TimePoint two_since{};
    TimePoint none_since{};
    for (const Question& question : questions_) {
        if (question.sent < mark_ || question.sent > end) continue;
        ++report.asked;
        report.answering.insert(question.answers.begin(), question.answers.end());
        const auto count = [&](bool condition, TimePoint& since, std::uint64_t& number, Nanoseconds& longest) {
            if (!condition) {
                since = {};
                return;
            }
            ++number;
            if (since == TimePoint{}) since = question.sent;
            longest = std::max<Nanoseconds>(longest, question.sent - since);
        };
        count(question.answers.size() > 1, two_since, report.two_answered, report.two_answered_longest);
        count(question.answers.empty(), none_since, report.unanswered, report.unanswered_longest);
    }
    for (const auto& announcement : announcements_)
        if (announcement.first >= mark_) report.announcements.push_back(announcement);
    return report;
}

std::string ObserverReport::text() const {
    std::array<char, 256> line{};
    std::snprintf(
        line.data(), line.size(),
        "%llu questions, %llu unanswered (longest %.0f ms), %llu answered by two (longest %.0f ms), %zu announcements",
        static_cast<unsigned long long>(asked), static_cast<unsigned long long>(unanswered),
        static_cast<double>(unanswered_longest.count()) / 1e6, static_cast<unsigned long long>(two_answered),
        static_cast<double>(two_answered_longest.count()) / 1e6, announcements.size());
    std::string text = line.data();
    for (const auto& mac : answering) text += ", " + mac;
    return text;
}

}  // namespace lbcluster::lab
