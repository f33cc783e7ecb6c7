#include "tests/lab/witness.hpp"

#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <ctime>

namespace lbcluster::lab {
namespace {

constexpr std::int64_t period_ns = 1000000;

std::int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

}  // namespace

Witness::Witness() {
    cpu_set_t ours;
    CPU_ZERO(&ours);
    if (::sched_getaffinity(0, sizeof ours, &ours) != 0) return;
    for (int processor = 0; processor < CPU_SETSIZE; ++processor)
        if (CPU_ISSET(processor, &ours)) threads_.emplace_back([this, processor] { watch(processor); });
}

Witness::~Witness() {
    end_ = true;
    for (std::thread& thread : threads_) thread.join();
}

void Witness::watch(int processor) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(processor, &here);
    if (::pthread_setaffinity_np(::pthread_self(), sizeof here, &here) != 0) return;
    sched_param parameters{};
    parameters.sched_priority = ::sched_get_priority_max(SCHED_FIFO);
    // Otherwise it would tell of our own load.
    if (::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameters) != 0) return;
    std::int64_t due = now_ns();
    while (!end_) {
        due += period_ns;
        const timespec until{due / 1000000000, due % 1000000000};
        while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
        }
        const std::int64_t now = now_ns();
        std::int64_t before = latest_ns_;
        while (now - due > before && !latest_ns_.compare_exchange_weak(before, now - due)) {
        }
        due = now;
    }
}

void Witness::mark() { latest_ns_ = 0; }

Nanoseconds Witness::latest() const { return Nanoseconds(latest_ns_.load()); }

}  // namespace lbcluster::lab
