// LBC_ASSERT: a programming error ends the process (it is restarted at once); stays on in release builds.
#pragma once

namespace lbcluster {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;
}

#define LBC_ASSERT(expression) \
    ((expression) ? static_cast<void>(0) : ::lbcluster::assertion_failed(#expression, __FILE__, __LINE__))
