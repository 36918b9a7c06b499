var __LGUI_chat = { render: function () {} };
