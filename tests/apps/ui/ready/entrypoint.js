var __LGUI_ready = { render: function () {} };
