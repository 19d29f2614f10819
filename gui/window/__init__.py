"""The window itself: start page, menus, dialogs, forms, and pictures of it."""
