#include "lbcluster/bus/event_log.hpp"

#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/bus/event_file.hpp"

namespace lbcluster::bus {

namespace {

std::string key_of(std::uint64_t sequence) { return "event/" + std::to_string(sequence); }

}  // namespace

EventLog::EventLog(boost::asio::io_context& io, boost::asio::thread_pool& files, Server& bus, std::string path)
    : io_(io), files_(files), bus_(bus), path_(std::move(path)) {}

void EventLog::load() {
    const auto kept = read_event_history(path_);
    if (!kept.ok()) {
        if (kept.error().code != ENOENT) spdlog::warn("{}: the history begins anew", kept.error().message);
        return;
    }
    for (const Event& event : kept->events) {
        if (event.sequence() <= sequence_) continue;  // numbers only grow; a damaged line is passed over
        sequence_ = event.sequence();
        show(event);
    }
}

void EventLog::add(Event event) {
    event.set_sequence(++sequence_);
    show(event);
    if (waiting_ >= waiting_max) {
        error_ = "cannot write " + path_ + ": the disk does not answer";
        return;
    }
    ++waiting_;
    boost::asio::post(files_, [this, event = std::move(event)] {
        const auto written = append_event(path_, event);
        --waiting_;
        boost::asio::post(io_, [this, error = written ? "" : written.error().message] {
            if (error_.empty() && !error.empty()) spdlog::warn("{}", error);
            error_ = error;
        });
    });
}

void EventLog::note(const std::string& node, const char* kind, const char* severity, std::string text) {
    constexpr std::size_t bytes_max = 2000;  // a configuration may have many faults
    if (text.size() > bytes_max) text = text.substr(0, bytes_max) + " ...";
    Event event;
    event.set_time_ms(realtime_ms_now());
    event.set_node(node);
    event.set_kind(kind);
    event.set_severity(severity);
    event.set_text(std::move(text));
    add(std::move(event));
}

void EventLog::show(const Event& event) {
    Item item;
    item.set_key(key_of(event.sequence()));
    *item.mutable_event() = event;
    bus_.set(std::move(item));
    shown_.push_back(event.sequence());
    if (shown_.size() <= event_lines_max) return;
    bus_.erase(key_of(shown_.front()));
    shown_.pop_front();
}

}  // namespace lbcluster::bus
