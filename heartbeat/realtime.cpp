#include "heartbeat/realtime.hpp"

#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LBC_SANITIZED 1  // their shadow memory cannot be locked
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LBC_SANITIZED 1
#endif
#endif

namespace lbcluster::heartbeat {

void prepare_memory() {
#ifndef LBC_SANITIZED
    constexpr std::size_t stack_bytes = 256 * 1024;
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) == 0) {
        ::pthread_attr_setstacksize(&attributes, stack_bytes);
        ::pthread_setattr_default_np(&attributes);
        ::pthread_attr_destroy(&attributes);
    }
    ::mallopt(M_ARENA_MAX, 1);
    // Memory once had is kept: no page faults later.
    ::mallopt(M_TRIM_THRESHOLD, 64 * 1024 * 1024);
    ::mallopt(M_MMAP_MAX, 0);
#endif
}

std::string lock_memory() {
#ifndef LBC_SANITIZED
    if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return std::string("mlockall: ") + std::strerror(errno);
#endif
    return "";
}

std::string set_realtime(pthread_t thread, int priority) {
    sched_param parameters{};
    parameters.sched_priority = priority;
    const int error = ::pthread_setschedparam(thread, SCHED_RR, &parameters);
    return error == 0 ? "" : std::string("SCHED_RR: ") + std::strerror(error);
}

}  // namespace lbcluster::heartbeat
